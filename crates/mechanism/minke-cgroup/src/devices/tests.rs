use super::*;

fn list(json: &str) -> DeviceList {
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
    let mut list = DeviceList::deny_all();
    rules.iter().for_each(|rule| list.apply(rule));
    list
}

#[test]
fn a_rule_for_everything_resets_the_list() {
    let denied = list(
        r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"r"},{"allow":false,"access":"rwm"}]"#,
    );
    assert_eq!(denied, DeviceList::deny_all());
    assert_eq!(list(r#"[{"allow":true,"type":"a"}]"#), DeviceList::allow_all());
}

#[test]
fn accesses_of_one_device_add_up_and_are_taken_back_one_by_one() {
    let list = list(
        r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
            {"allow":true,"type":"c","major":1,"minor":3,"access":"wm"},
            {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#,
    );
    let lines: Vec<_> = list.exceptions.iter().map(Exception::line).collect();
    assert_eq!(lines, ["c 1:3 rm"]);
}

#[test]
fn minus_one_and_absence_both_mean_any_number() {
    let list = list(
        r#"[{"allow":true,"type":"b","major":8,"minor":-1,"access":"r"},{"allow":true,"type":"c","access":"m"}]"#,
    );
    let lines: Vec<_> = list.exceptions.iter().map(Exception::line).collect();
    assert_eq!(lines, ["b 8:* r", "c *:* m"]);
}

#[test]
fn writes_start_from_a_known_state() {
    let mut denied = DeviceList::deny_all();
    default_rules().iter().for_each(|rule| denied.apply(rule));
    let writes = denied.v1_writes();
    assert_eq!(writes[0], ("devices.deny", "a".to_owned()));
    assert_eq!(writes[1], ("devices.allow", "c *:* m".to_owned()));
    assert_eq!(writes.last(), Some(&("devices.allow", "c 136:* rwm".to_owned())));
    assert_eq!(writes.len(), 13);
    let open = list(
        r#"[{"allow":true,"type":"a"},{"allow":false,"type":"c","major":10,"minor":200,"access":"rw"}]"#,
    );
    assert_eq!(
        open.v1_writes(),
        [("devices.allow", "a".to_owned()), ("devices.deny", "c 10:200 rw".to_owned())]
    );
}

#[test]
fn an_allowed_request_needs_all_its_operations_and_a_denied_one_only_one() {
    let (kind, read) = (DeviceKind::Char, Access::READ);
    let closed = list(r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"r"}]"#);
    assert!(closed.allows(kind, 1, 3, read));
    assert!(!closed.allows(kind, 1, 3, Access::parse("rw")));
    assert!(!closed.allows(kind, 1, 5, read));
    assert!(!closed.allows(DeviceKind::Block, 1, 3, read));
    let open =
        list(r#"[{"allow":true,"type":"a"},{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#);
    assert!(open.allows(kind, 1, 3, read));
    assert!(!open.allows(kind, 1, 3, Access::parse("rw")));
}
