//! cgroups v1, v2 and hybrid behind one small trait.
