use super::*;
use crate::parse;

fn found(text: &str) -> Vec<String> {
    let file = parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
    found_with(&file, &Around::default())
}

fn found_with(file: &Dockerfile, around: &Around<'_>) -> Vec<String> {
    lint(file, around)
        .iter()
        .map(|warning| format!("{}:{} {}", warning.span.first, warning.rule, warning.message))
        .collect()
}

#[test]
fn a_clean_file_has_no_warnings() {
    let text = "ARG V=1\nFROM debian:${V} AS base\nARG X\nENV A=$X\nWORKDIR /a\nWORKDIR b\nEXPOSE 80/tcp\nCMD [\"x\"]\n";
    assert_eq!(found(text), Vec::<String>::new());
}

#[test]
fn each_rule_says_where_and_why() {
    let cases: &[(&str, &str)] = &[
        ("FROM a as b\n", "1:FromAsCasing 'as' and 'FROM' keywords' casing do not match"),
        ("FROM a AS Bb\n", "1:StageNameCasing Stage name 'Bb' should be lowercase"),
        ("FROM a\nRUN x \\\n\n y\n", "2:NoEmptyContinuation Empty continuation line"),
        (
            "FROM a\nRun x\n",
            "2:ConsistentInstructionCasing Command 'Run' should match the case of the command majority (uppercase)",
        ),
        (
            "FROM a AS b\nFROM c AS b\n",
            "2:DuplicateStageName Duplicate stage name \"b\", stage names should be unique",
        ),
        (
            "FROM a AS scratch\n",
            "1:ReservedStageName Stage name should not use the same name as reserved stage \"scratch\"",
        ),
        (
            "FROM a\nCMD x\n",
            "2:JSONArgsRecommended JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM a\nMAINTAINER x\n",
            "2:MaintainerDeprecated Maintainer instruction is deprecated in favor of using label",
        ),
        ("FROM a:$V\n", "1:UndefinedArgInFrom FROM argument 'V' is not declared"),
        (
            "FROM a\nWORKDIR x\n",
            "2:WorkdirRelativePath Relative workdir \"x\" can have unexpected results if the base image changes",
        ),
        ("FROM scratch\nCOPY $y /\n", "2:UndefinedVar Usage of undefined variable '$y'"),
        (
            "FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n",
            "2:MultipleInstructionsDisallowed Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM a\nENV k v\n",
            "2:LegacyKeyValueFormat \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ),
        (
            "FROM --platform=$TARGETPLATFORM a\n",
            "1:RedundantTargetPlatform Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM a\nENV AWS_SECRET=x\n",
            "2:SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"AWS_SECRET\")",
        ),
        (
            "ARG V\nFROM a:${V}\n",
            "2:InvalidDefaultArgInFrom Default value for ARG ${V} results in empty or invalid base image name",
        ),
        (
            "FROM --platform=linux/amd64 a\n",
            "1:FromPlatformFlagConstDisallowed FROM --platform flag should not use constant value \"linux/amd64\"",
        ),
        (
            "FROM a\nEXPOSE 80/TCP\n",
            "2:ExposeProtoCasing Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM a\nEXPOSE 1.2.3.4:80:80\n",
            "2:ExposeInvalidFormat EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:80:80'",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(found(text), [*expected], "{text}");
    }
}

#[test]
fn rules_can_be_switched_off() {
    assert!(found("# check=skip=JSONArgsRecommended\nFROM a\nCMD x\n").is_empty());
    assert!(found("# check=skip=all\nFROM a as b\nCMD x\n").is_empty());
    assert_eq!(found("# check=skip=JSONArgsRecommended\nFROM a as b\nCMD x\n").len(), 1);
}

#[test]
fn what_the_context_leaves_out_cannot_be_copied() {
    let ignored = Ignore::parse(b"*/tmp\nlogs\n!logs/kept\n*.md\n").expect("patterns");
    let around = Around { ignored: Some(&ignored), ..Around::default() };
    let text = "# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY ./a/tmp/f README.md src /\nCOPY --from=x a/tmp /b\n\
                COPY . logs /\nADD https://a/tmp/x.md *.md /\nCOPY <<x.md /\ny\nx.md\n";
    let file = parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
    assert_eq!(
        found_with(&file, &around),
        [
            "3:CopyIgnoredFile Attempting to Copy file \"./a/tmp/f\" that is excluded by .dockerignore",
            "3:CopyIgnoredFile Attempting to Copy file \"README.md\" that is excluded by .dockerignore",
            "6:CopyIgnoredFile Attempting to Add file \"*.md\" that is excluded by .dockerignore",
        ]
    );
    let without = text.replace("experimental=CopyIgnoredFile", "error=true");
    let file = parse("Dockerfile", without.as_bytes()).expect("a Dockerfile");
    assert!(found_with(&file, &around).is_empty(), "it is asked for by name");
}

#[test]
fn variables_of_known_base_images_are_known() {
    let brings = |image: &str| (image == "known").then(|| vec!["GOPATH".to_owned()]);
    let around = Around { variables: Some(&brings), ..Around::default() };
    let found =
        |text: &str| found_with(&parse("Dockerfile", text.as_bytes()).expect("a Dockerfile"), &around);
    assert!(found("FROM known\nWORKDIR $GOPATH\nENV PATH=$PATH:/x\n").is_empty());
    assert!(found("FROM other\nUSER $WHO\n").is_empty(), "nobody knows what it brings");
    assert_eq!(
        found("FROM known AS a\nFROM a\nARG WORLD\nUSER $GOPTH\nUSER $WORD\nLABEL a=$nothing\n"),
        [
            "4:UndefinedVar Usage of undefined variable '$GOPTH' (did you mean $GOPATH?)",
            "5:UndefinedVar Usage of undefined variable '$WORD'",
            "6:UndefinedVar Usage of undefined variable '$nothing'",
        ]
    );
}
