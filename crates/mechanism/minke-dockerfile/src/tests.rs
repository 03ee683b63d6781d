//! The parser against what Docker does with the same texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::*;

fn file(text: &str) -> Dockerfile {
    parse("Dockerfile", text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: &str) -> String {
    parse("Dockerfile", text.as_bytes()).expect_err(text).to_string()
}

fn only(text: &str) -> Instruction {
    let mut file = file(&format!("FROM a\n{text}\n"));
    file.stages.remove(0).steps.remove(0).instruction
}

#[test]
fn refusals_are_in_docker_s_words() {
    // Each was said by Docker 28.5's classic builder.
    let cases: &[(&str, &str)] = &[
        (
            "FROM scratch\nFOO bar\n",
            "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
        ),
        ("FROM scratch\nENV\n", "dockerfile parse error on line 2: ENV requires at least one argument"),
        ("FROM scratch\nENV a\n", "failed to parse Dockerfile: ENV must have two arguments"),
        (
            "FROM scratch\nENV a=b c\n",
            "failed to parse Dockerfile: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        (
            "FROM scratch\nCOPY a\n",
            "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "FROM scratch\nCOPY --foo=b a b\n",
            "dockerfile parse error on line 2: unknown flag: --foo (did you mean from?)",
        ),
        (
            "FROM scratch\nCOPY --link=x a b\n",
            "dockerfile parse error on line 2: expecting boolean value for flag --link, not: x",
        ),
        ("RUN x\n", "no build stage in current context"),
        ("# only\n", "failed to parse Dockerfile: file with no instructions"),
        ("FROM\n", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a as 1b\n",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
        (
            "FROM scratch\nONBUILD ONBUILD RUN x\n",
            "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        (
            "FROM scratch\nONBUILD FROM x\n",
            "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger",
        ),
        (
            "FROM scratch\nSHELL x\n",
            "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form",
        ),
        (
            "FROM scratch\nHEALTHCHECK foo\n",
            "dockerfile parse error on line 2: Unknown type \"FOO\" in HEALTHCHECK (try CMD)",
        ),
        (
            "FROM scratch\nHEALTHCHECK NONE x\n",
            "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments",
        ),
        (
            "FROM scratch\nHEALTHCHECK CMD\n",
            "dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD",
        ),
        (
            "FROM scratch\nHEALTHCHECK --interval=1us CMD a\n",
            "dockerfile parse error on line 2: Interval \"interval\" cannot be less than 1ms",
        ),
        (
            "FROM scratch\nHEALTHCHECK --retries=-1 CMD a\n",
            "dockerfile parse error on line 2: --retries cannot be negative (-1)",
        ),
        (
            "FROM scratch\nVOLUME [\"\"]\n",
            "dockerfile parse error on line 2: VOLUME specified can not be an empty string",
        ),
        (
            "FROM scratch\nMAINTAINER\n",
            "dockerfile parse error on line 2: MAINTAINER requires exactly one argument",
        ),
        ("FROM scratch\nLABEL =a\n", "dockerfile parse error on line 2: LABEL names can not be blank"),
        ("FROM scratch\nARG =x\n", "dockerfile parse error on line 2: ARG names can not be blank"),
        ("FROM scratch\nRUN <<E\nx\n", "failed to parse Dockerfile: unterminated heredoc"),
        (
            "# escape=x\nFROM scratch\n",
            "failed to parse Dockerfile: invalid escape token 'x' does not match ` or \\",
        ),
        (
            "# escape=`\n# escape=`\nFROM scratch\n",
            "failed to parse Dockerfile: only one escape parser directive can be used",
        ),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/x,foo=1 true\n",
            "dockerfile parse error on line 2: unexpected key 'foo' in 'foo=1' (did you mean from?)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(text), *expected, "{text}");
    }
}

#[test]
fn lines_are_joined_and_their_span_is_kept() {
    let file = file("# a comment\nFROM a\n\nRUN one \\\n  # inside\n\n  two\\\n three\nCMD [\"x\"]\n");
    let steps = &file.stages[0].steps;
    assert_eq!(steps[0].text, "RUN one   two three");
    assert_eq!(steps[0].span, Span { first: 4, last: 8 });
    assert_eq!(steps[1].span, Span { first: 9, last: 9 });
}

#[test]
fn directives_are_read_until_the_first_line_that_is_none() {
    let file = file(
        "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=A,B;error=true\n# other\n# escape=\\\nFROM a\nRUN one `\n two\n",
    );
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.directives.skipped_checks, ["A", "B"]);
    assert!(file.directives.checks_are_errors);
    assert_eq!(file.stages[0].steps[0].text, "RUN one  two");
}

#[test]
fn stages_have_names_platforms_and_numbers() {
    let file =
        file("ARG V=1\nFROM --platform=$BUILDPLATFORM debian:$V AS Build\nRUN x\nFROM build\nFROM scratch\n");
    assert_eq!(file.stages[0].from.name.as_deref(), Some("build"));
    assert_eq!(file.stages[0].from.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!((file.stage("BUILD"), file.stage("2"), file.stage("3")), (Some(0), Some(2), None));
    assert_eq!(file.steps_through(1), 4);
}

#[test]
fn commands_are_lists_or_for_the_shell() {
    assert_eq!(only("CMD [\"a\", \"b c\"]"), Instruction::Cmd(Command::Exec(vec!["a".into(), "b c".into()])));
    assert_eq!(only("CMD [a, b]"), Instruction::Cmd(Command::Shell("[a, b]".into())));
    assert_eq!(
        only("ENTRYPOINT exec top  -b"),
        Instruction::Entrypoint(Command::Shell("exec top  -b".into()))
    );
    assert_eq!(only("ENTRYPOINT []"), Instruction::Entrypoint(Command::Exec(Vec::new())));
    assert_eq!(
        only("SHELL [\"/bin/bash\", \"-c\"]"),
        Instruction::Shell(vec!["/bin/bash".into(), "-c".into()])
    );
}

#[test]
fn a_here_document_is_a_script_or_a_text_for_the_shell() {
    let form = |text: &str| match only(text) {
        Instruction::Run(run) => run.form,
        other => panic!("{other:?}"),
    };
    assert_eq!(form("RUN <<EOF\na\nb\nEOF"), Form::Shell("a\nb\n".into()));
    assert_eq!(form("RUN <<-EOF\n\ta\n\tEOF"), Form::Shell("a\n".into()));
    assert_eq!(
        form("RUN <<EOF\n#!/bin/x\na\nEOF"),
        Form::Script { name: "EOF".into(), content: "#!/bin/x\na\n".into() }
    );
    assert_eq!(
        form("RUN python3 <<'EOF' > /x\nprint($a)\nEOF"),
        Form::Shell("python3 <<'EOF' > /x\nprint($a)\nEOF".into())
    );
    assert_eq!(form("RUN echo '<<EOF'"), Form::Shell("echo '<<EOF'".into()));
    assert_eq!(form("RUN cat <<A <<B\n1\nA\n2\nB"), Form::Shell("cat <<A <<B\n1\nA\n2\nB".into()));
}

#[test]
fn files_may_stand_in_the_dockerfile() {
    let mut scope = Scope::of_environment(&["name=world".to_owned()]);
    scope.set(&[Pair { key: "dir".into(), value: "/etc".into() }]);
    let Instruction::Copy(copy) =
        only("COPY <<one <<\"two\" $dir/\nhello \"$name\"\none\n$name\ntwo").expanded(&scope).expect("fine")
    else {
        panic!("no copy")
    };
    let contents: Vec<(String, String)> = copy
        .sources
        .into_iter()
        .map(|source| match source {
            Copy::Inline(heredoc) => (heredoc.name, heredoc.content),
            Copy::Path(path) => (path, String::new()),
        })
        .collect();
    assert_eq!(contents, [("one".into(), "hello \"world\"\n".into()), ("two".into(), "$name\n".into())]);
    assert_eq!(copy.target, "/etc/");
}

#[test]
fn flags_of_copy_and_add_are_kept() {
    let Instruction::Copy(copy) = only(
        "COPY --from=build --chown=1:2 --chmod=644 --link --parents --exclude=*.o --exclude=x \"a b\" [\"c\"]",
    ) else {
        panic!("no copy")
    };
    assert_eq!(
        (copy.from.as_deref(), copy.chown.as_deref(), copy.chmod.as_deref()),
        (Some("build"), Some("1:2"), Some("644"))
    );
    assert!(copy.link && copy.parents);
    assert_eq!(copy.exclude, ["*.o", "x"]);
    let Instruction::Copy(copy) = only("COPY [\"a b\", \"c d\", \"/e f/\"]") else { panic!("no copy") };
    assert_eq!(copy.sources, [Copy::Path("a b".into()), Copy::Path("c d".into())]);
    let Instruction::Add(add) =
        only("ADD --checksum=sha256:aa --keep-git-dir=true --unpack=false http://x /y")
    else {
        panic!("no add")
    };
    assert_eq!(
        add.add,
        AddOptions { checksum: Some("sha256:aa".into()), keep_git_dir: true, unpack: Some(false) }
    );
}

#[test]
fn mounts_are_typed_once_their_values_are_known() {
    let scope = Scope::of_environment(&["t=/root/.cache".to_owned(), "m=0700".to_owned()]);
    let Instruction::Run(run) = only(
        "RUN --mount=type=cache,target=$t,mode=$m,sharing=locked --mount=target=/src,rw --mount=type=secret,id=k,required --mount=type=tmpfs,dst=/t,size=1m --network=none make",
    )
    .expanded(&scope)
    .expect("fine") else {
        panic!("no run")
    };
    assert_eq!(run.network, Network::None);
    let targets: Vec<&str> = run.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/root/.cache", "/src", "/run/secrets/k", "/t"]);
    assert!(
        matches!(&run.mounts[0].kind, MountKind::Cache { id, mode: Some(0o700), sharing: Sharing::Locked, .. } if id == "/root/.cache")
    );
    assert!(matches!(&run.mounts[1].kind, MountKind::Bind(Bind { from: None, writable: true, .. })));
    assert!(matches!(run.mounts[2].kind, MountKind::Secret { required: true, .. }));
    assert_eq!(run.mounts[3].kind, MountKind::Tmpfs { size: Some(1 << 20) });
}

#[test]
fn variables_are_put_in_as_the_shell_would() {
    let scope = Scope::of_environment(&[
        "a=one".into(),
        "e=".into(),
        "path=/usr/lib/libx.so.1".into(),
        "w=x y".into(),
    ]);
    let cases: &[(&str, &str)] = &[
        ("$a", "one"),
        ("${a}", "one"),
        ("$a_", ""),
        ("x$", "x$"),
        ("\\$a", "$a"),
        ("'$a'", "$a"),
        ("\"$a\"", "one"),
        ("\"\\$a\"", "$a"),
        ("\"\\n\"", "\\n"),
        ("\\n", "n"),
        ("${u:-d}", "d"),
        ("${e:-d}", "d"),
        ("${e-d}", ""),
        ("${a:-d}", "one"),
        ("${u:-$a}", "one"),
        ("${u:-${e:-deep}}", "deep"),
        ("${a:+s}", "s"),
        ("${u:+s}", ""),
        ("${e:+s}", ""),
        ("${e+s}", "s"),
        ("${a:?no}", "one"),
        ("${path##*/}", "libx.so.1"),
        ("${path#*/}", "usr/lib/libx.so.1"),
        ("${path%.*}", "/usr/lib/libx.so"),
        ("${path%%.*}", "/usr/lib/libx"),
        ("${path#/}", "usr/lib/libx.so.1"),
        ("${path/lib/LIB}", "/usr/LIB/libx.so.1"),
        ("${path//lib/L}", "/usr/L/Lx.so.1"),
        ("${path//\\//_}", "_usr_lib_libx.so.1"),
        ("$1", ""),
        ("a'b'\"c\"", "abc"),
    ];
    for (text, expected) in cases {
        assert_eq!(scope.expand(text).unwrap_or_else(|error| panic!("{text}: {error}")), *expected, "{text}");
    }
    assert_eq!(scope.expand_words("$w 'p q' \"$w\"").expect("fine"), ["x", "y", "p q", "x y"]);
    for (text, why) in [
        ("${u:?is needed}", "u: is needed"),
        ("${u?}", "u: is not allowed to be unset"),
        ("${e:?}", "e: is not allowed to be empty"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${a:x}", "unsupported modifier (:x) in substitution"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
    ] {
        let error = scope.expand(text).expect_err(text).to_string();
        assert_eq!(error, format!("failed to process {text:?}: {why}"));
    }
}

#[test]
fn arguments_have_docker_s_precedence() {
    let file = file("ARG V=1\nARG W=$V.0\nFROM a:$W\nARG V\nARG X=own\nARG W=mine\nENV X=env\n");
    let platform = Platform { os: "linux".into(), architecture: "arm".into(), variant: "v7".into() };
    let given = Given {
        arguments: BTreeMap::from([
            ("W".to_owned(), "given".to_owned()),
            ("HTTP_PROXY".to_owned(), "p".to_owned()),
            ("stray".to_owned(), "s".to_owned()),
        ]),
        build: platform.clone(),
        target: platform,
        stage: None,
    };
    let globals = Scope::of_globals(&file, Arc::new(given)).expect("fine");
    assert_eq!(globals.expand(&file.stages[0].from.image).expect("fine"), "a:given");
    assert_eq!(globals.get("TARGETPLATFORM"), Some("linux/arm/v7"));
    let mut scope = globals.of_stage(&["PATH=/bin".to_owned()]);
    assert_eq!((scope.get("V"), scope.get("TARGETARCH"), scope.get("stray")), (None, None, None));
    for step in &file.stages[0].steps {
        match step.expanded(&scope).expect("fine") {
            Instruction::Arg(list) => scope.declare(&list),
            Instruction::Env(pairs) => scope.set(&pairs),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((scope.get("V"), scope.get("X"), scope.get("W")), (Some("1"), Some("env"), Some("given")));
    assert_eq!(scope.environment(), ["PATH=/bin", "X=env"]);
    let names = |list: Vec<(String, String)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(scope.arguments()), ["V", "W", "HTTP_PROXY"]);
    assert_eq!(names(scope.cached_arguments()), ["V", "W"]);
}

#[test]
fn the_excerpt_shows_the_lines_with_an_arrow() {
    let file = file("FROM a\nRUN one \\\n two\nCMD x\n");
    assert_eq!(
        file.source.excerpt(file.stages[0].steps[0].span),
        "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN one \\\n   3 | >>>  two\n   4 |     CMD x\n--------------------\n"
    );
}

#[test]
fn triggers_are_single_instructions() {
    assert!(matches!(parse_trigger("COPY a /b").expect("fine").instruction, Instruction::Copy(_)));
    assert!(parse_trigger("COPY a /b\nRUN x").is_err());
    assert!(parse_trigger("FROM x").is_err());
    assert_eq!(only("ONBUILD  RUN <<E\nx\nE"), Instruction::Onbuild("RUN <<E\nx\nE".into()));
    assert!(matches!(parse_trigger("RUN <<E\nx\nE").expect("fine").instruction, Instruction::Run(_)));
}

#[test]
fn ignore_lists_decide_as_docker_does() {
    let out = |list: &str, path: &str| Ignore::parse(list.as_bytes()).expect(list).excludes(path);
    for (list, path, expected) in [
        ("a", "a", true),
        ("a", "a/b", true),
        ("a", "b/a", false),
        ("/a", "a", true),
        ("a/", "a/b", true),
        ("./a", "a", true),
        ("*.o", "x.o", true),
        ("*.o", "d/x.o", false),
        ("**/*.o", "d/e/x.o", true),
        ("**/*.o", "x.o", true),
        ("**", "x", true),
        ("*/t", "a/t", true),
        ("*/t", "a/b/t", false),
        ("a/**", "a/b", true),
        ("a/**", "a", false),
        ("a?", "ab", true),
        ("*\n!keep", "keep", false),
        ("*\n!keep", "drop", true),
        ("*\n!d/keep", "d/keep", false),
        ("*\n!d/keep", "d/x", true),
        ("*.md\n!R.md\nR*", "R.md", true),
        ("# a\n\n  b  ", "b", true),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("\\#a", "#a", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("**/x/**/y", "a/x/b/c/y", true),
        ("..", "a", false),
    ] {
        assert_eq!(out(list, path), expected, "{list:?} {path}");
    }
    let ignore = Ignore::parse(b"*\n!d/e/keep\n!**/deep").expect("fine");
    assert!(ignore.may_return_below("d") && ignore.may_return_below("d/e") && ignore.may_return_below("z"));
    let ignore = Ignore::parse(b"*\n!d/e/keep").expect("fine");
    assert!(
        ignore.may_return_below("d/e") && !ignore.may_return_below("z") && !ignore.may_return_below("d/f")
    );
    assert!(Ignore::parse(b"[").is_err() && Ignore::parse(b"!").is_err());
}

#[test]
fn wildcards_stop_at_slashes() {
    for (pattern, path, expected) in [
        ("*.c", "a.c", true),
        ("*.c", "d/a.c", false),
        ("d/*", "d/a", true),
        ("a[0-9]", "a5", true),
        ("a\\*", "a*", true),
        ("**", "a/b", false),
    ] {
        assert_eq!(matches(pattern, path), Ok(expected), "{pattern} {path}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "[A-Z #=\\\\$a-z{}:<>\"'\\[\\],\n\t`-]{0,200}") {
        if let Ok(file) = parse("Dockerfile", text.as_bytes()) {
            let _warnings = lint(&file, &crate::Around::default());
        }
        let _expanded = Scope::of_environment(&[]).expand(&text);
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            let _excluded = ignore.excludes("a/b");
        }
    }
}
