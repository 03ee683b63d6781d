package main // VERSION
