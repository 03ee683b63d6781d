//! What users of `--format` rely on, checked against what Docker prints.

use crate::table::LIST;
use crate::{Map, Mode, Record, Schema, Template, Value, json};
use proptest::prelude::*;
use serde_json::json;
use std::rc::Rc;

fn run(template: &str, data: &Value, mode: Mode) -> Result<String, String> {
    let template = Template::parse(template).map_err(|e| e.to_string())?;
    let mut out = String::new();
    template.execute(data, mode, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

fn raw(data: serde_json::Value) -> Value {
    Value::from_json(&data)
}

fn check(template: &str, expected: &str) {
    let data = raw(json!({
        "Name": "/web", "Pid": 7, "Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1"},
        "State": {"Running": true, "Code": 0}, "Nothing": null, "Empty": [], "Ratio": 0.5
    }));
    assert_eq!(run(template, &data, Mode::Lenient).as_deref(), Ok(expected), "{template}");
}

#[test]
fn fields_text_and_blanks_come_out_as_in_go() {
    check("x{{.Name}}y", "x/weby");
    check("{{.State.Running}}", "true");
    check("{{.Labels}} {{.Env}} {{.State}}", "map[a:1 b:2] [A=1 B=2] map[Code:0 Running:true]");
    check("{{.Missing}} {{.Labels.zz}} {{.Nothing}}", "<no value> <no value> <no value>");
    check("{{.Ratio}} {{.Pid}}", "0.5 7");
    check("a  {{- .Pid -}}  b", "a7b");
    check("{{/* gone */}}x{{- /* gone */ -}}  y", "xy");
    check("", "");
}

#[test]
fn control_structures_nest_and_scope_their_variables() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .Nothing}}a{{else if .Pid}}b{{else}}c{{end}}", "b");
    check("{{range .Env}}{{.}};{{end}}", "A=1;B=2;");
    check("{{range $i, $e := .Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2 ");
    check("{{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}", "a=1,b=2,");
    check("{{range .Empty}}x{{else}}none{{end}}", "none");
    check("{{with .State}}{{.Code}}{{$.Name}}{{end}}", "0/web");
    check("{{with .Nothing}}x{{else with .Pid}}{{.}}{{end}}", "7");
    check("{{$x := 1}}{{range .Env}}{{$x = 2}}{{end}}{{$x}}", "2");
    check("{{range .Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1");
    check("{{range .Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2");
    check("{{range 3}}{{.}}{{end}}", "012");
}

#[test]
fn functions_of_go_and_docker_are_there() {
    check(
        "{{json .Labels}} {{json .Name}} {{json .Nothing}}",
        r#"{"b":"2","a":"1"} "/web" null"#.replace(r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#).as_str(),
    );
    check("{{join .Env \",\"}} {{split \"a:b\" \":\"}}", "A=1,B=2 [a b]");
    check("{{upper \"aB\"}}{{lower \"aB\"}}{{title \"hello world\"}}", "ABabHello World");
    check("{{truncate .Name 2}}|{{pad \"x\" 2 1}}|", "/w|  x |");
    check("{{len .Env}} {{index .Env 1}} {{index .Labels \"a\"}}", "2 B=2 1");
    check("{{slice \"abcdef\" 1 3}} {{slice .Env 1}}", "bc [B=2]");
    check("{{println .Pid .Name}}", "7 /web\n");
    check("{{print 1 2 \"a\" 3}}", "1 2a3");
    check(
        "{{printf \"%s|%5d|%-4d|%q|%x|%05.1f|%v\" .Name 7 7 \"a\" 255 .Ratio .Env}}",
        "/web|    7|7   |\"a\"|ff|000.5|[A=1 B=2]",
    );
    check(
        "{{printf \"%d\" \"x\"}} {{printf \"%d\"}} {{printf \"a\" 1}}",
        "%!d(string=x) %!d(MISSING) a%!(EXTRA int=1)",
    );
    check("{{eq .Pid 7}} {{ne .Pid 7}} {{lt 1 2}} {{ge 2 2}} {{eq 3 1 2 3}}", "true false true true true");
    check("{{and 1 0}} {{or 0 \"x\"}} {{not 1}}", "0 x false");
    check("{{.Name | printf \"%.2s\" | upper}}", "/W");
    check("{{html \"<a>\"}} {{urlquery \"a b&\"}}", "&lt;a&gt; a+b%26");
    check("{{(index .Env 0) | len}} {{'a'}} {{0x1F}} {{`raw`}}", "3 97 31 raw");
}

fn fails(template: &str, mode: Mode, expected: &str) {
    let data = raw(json!({"Id": "x", "Config": {"Labels": {"a": "b"}, "Env": ["A"]}, "N": null}));
    assert_eq!(run(template, &data, mode).unwrap_err(), expected, "{template}");
}

#[test]
fn errors_have_the_words_and_places_of_go() {
    let strict = Mode::Strict;
    fails("{{.Foo}}", strict, r#"template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo""#);
    fails(
        "{{.Config.Foo}}",
        strict,
        r#"template: :1:9: executing "" at <.Config.Foo>: map has no entry for key "Foo""#,
    );
    fails(
        "{{.Id.x}}",
        strict,
        r#"template: :1:5: executing "" at <.Id.x>: can't evaluate field x in type interface {}"#,
    );
    fails(
        "{{index .Config.Env 7}}",
        strict,
        r#"template: :1:2: executing "" at <index .Config.Env 7>: error calling index: index out of range: 7"#,
    );
    fails(
        "{{join .Config.Labels \",\"}}",
        strict,
        r#"template: :1:14: executing "" at <.Config.Labels>: wrong type for value; expected []string; got map[string]interface {}"#,
    );
    fails(
        "{{eq 1 \"a\"}}",
        strict,
        r#"template: :1:2: executing "" at <eq 1 "a">: error calling eq: incompatible types for comparison"#,
    );
    fails(
        "a\nb{{.N.x}}",
        strict,
        r#"template: :2:5: executing "" at <.N.x>: nil pointer evaluating interface {}.x"#,
    );
    fails(
        "{{join 1}}",
        strict,
        r#"template: :1:2: executing "" at <join>: wrong number of args for join: want 2 got 1"#,
    );
    fails("{{.Foo", strict, "template: :1: unclosed action");
    fails("{{foo}}", strict, r#"template: :1: function "foo" not defined"#);
    fails("{{if}}", strict, "template: :1: missing value for if");
    fails("{{end}}", strict, "template: :1: unexpected {{end}}");
    fails("{{if 1}}", strict, "template: :1: unexpected EOF");
    fails("\n{{$x}}", strict, r#"template: :2: undefined variable "$x""#);
    fails("{{\"a}}", strict, "template: :1: unterminated quoted string");
    fails("{{template \"x\"}}", strict, "template: :1: {{template}} is not supported in --format templates");
}

const SCHEMA: &str = "
Root *x.Root
Id s State *State Labels {}s Policy Policy Env []s Limit *i Wait d
State x.State
Status s Code i Health *Health
Health x.Health
Status s
Policy x.Policy
Name s MaximumRetryCount i
";

#[test]
fn a_schema_gives_absent_fields_the_zero_value_of_their_type() {
    let schema = Schema::parse(SCHEMA);
    let data = schema.read("Root", &json!({"Id": "7", "State": {"Status": "up"}, "Policy": {"Name": "no"}}));
    let print = |t| run(t, &data, Mode::Lenient).unwrap();
    assert_eq!(
        print("{{.Policy}} {{.State}} {{.Labels}} {{.Env}} {{.Limit}}"),
        "{no 0} {up 0 <nil>} map[] [] <nil>"
    );
    assert_eq!(print("{{index .Labels \"x\"}}|{{.Labels.x}}|{{.Wait}}"), "|<no value>|0s");
    assert_eq!(print("{{json .Policy}}"), r#"{"Name":"no"}"#);
    assert_eq!(
        run("{{.State.Health.Status}}", &data, Mode::Lenient).unwrap_err(),
        r#"template: :1:8: executing "" at <.State.Health.Status>: nil pointer evaluating *x.Health.Status"#
    );
    assert_eq!(
        run("{{.Nope}}", &data, Mode::Lenient).unwrap_err(),
        r#"template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *x.Root"#
    );
}

#[derive(Debug)]
struct Headers;
impl Record for Headers {
    fn type_name(&self) -> Rc<str> {
        "x.Headers".into()
    }
    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (name, args) {
            ("ID", []) => Some(Ok("CONTAINER ID".into())),
            ("Label", [Value::Str(key)]) => Some(Ok(Value::str(key))),
            _ => None,
        }
    }
    fn fields(&self) -> Vec<Value> {
        Vec::new()
    }
    fn json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn open(&self) -> bool {
        true
    }
}

#[test]
fn header_rows_keep_their_case_and_take_method_arguments() {
    let template =
        Template::parse("{{lower .ID}}\t{{.Label \"a.b\"}}\t{{truncate .ID 3}}\t{{.Nope}}").unwrap();
    let mut out = String::new();
    template.execute_header(&Value::Record(Rc::new(Headers)), &mut out).unwrap();
    assert_eq!(out, "CONTAINER ID\ta.b\tCONTAINER ID\t<no value>");
}

#[test]
fn a_template_tells_which_fields_it_reads() {
    let template = Template::parse("{{if .A}}{{range .B}}{{.C}}{{end}}{{end}}{{json .D}}").unwrap();
    for name in ["A", "B", "C", "D"] {
        assert!(template.mentions(name), "{name}");
    }
    assert!(!template.mentions("E"));
    assert!(Template::parse("{{json .}}").unwrap().mentions("E"));
}

#[test]
fn columns_are_as_wide_as_their_widest_neighbour() {
    let text = "A\tBB\tC\nlong cell here\tx\ty\n";
    assert_eq!(LIST.align(text), "A                BB        C\nlong cell here   x         y\n");
}

#[test]
fn a_short_line_ends_the_column_above_it() {
    let text = "aaaaaaaaaaaa\tb\nplain\nc\td\n";
    assert_eq!(LIST.align(text), "aaaaaaaaaaaa   b\nplain\nc         d\n");
}

#[test]
fn the_last_cell_is_not_padded_and_empty_cells_are() {
    assert_eq!(LIST.align("A\tB\t\nx\t\t\n"), "A         B         \nx                   \n");
}

#[test]
fn json_is_written_and_indented_as_go_does() {
    let value = json!({"b": "<&>", "a": [1, 1.5, {}], "c": {}, "d": [], "e": "é\n\u{1}"});
    assert_eq!(
        json::compact(&value, true),
        r#"{"b":"\u003c\u0026\u003e","a":[1,1.5,{}],"c":{},"d":[],"e":"é\n\u0001"}"#
    );
    assert_eq!(
        json::indent(r#"{"a":[1,{"b":"x\"}"}],"c":{},"d":[]}"#, "", "  "),
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}"
    );
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(text in "(\\{\\{|\\}\\}|[-. $|()\"'`:=,]|if|range|end|else|with|len|index|printf|slice|.A|.B|[0-9]|%[a-z]|\n|é|\\PC){0,24}") {
        let data = raw(json!({"A": [1, "é"], "B": {"A": null}}));
        if let Ok(template) = Template::parse(&text) {
            let mut out = String::new();
            drop(template.execute(&data, Mode::Lenient, &mut out));
            drop(template.execute_header(&data, &mut out));
        }
    }

    #[test]
    fn no_text_makes_alignment_panic(text in "([a-zé]{0,3}|\t|\n){0,40}") {
        let _ = LIST.align(&text);
        let _ = json::indent(&text, "", " ");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(50_000), ")".repeat(50_000));
    assert!(Template::parse(&parens).is_err());
    assert!(Template::parse(&"{{if 1}}".repeat(50_000)).is_err());
}

#[test]
fn maps_of_a_known_type_name_it() {
    let map = Map {
        entries: Default::default(),
        type_name: "map[string]string".into(),
        zero: "".into(),
        nil: false,
    };
    assert_eq!(Value::Map(Rc::new(map)).type_name().as_ref(), "map[string]string");
}
