//! The `tag` of a log: a Go template over what Docker tells log drivers of a container.

use std::rc::Rc;

use minke_base::ContainerId;
use minke_template::{Mode, Record as TemplateRecord, Template, Value};

use super::record::Record;

/// Length of a short id.
const SHORT: usize = 12;

/// Docker's `logger.Info`: its fields, and methods that templates use like fields.
const NAMES: [&str; 15] = [
    "ContainerID",
    "ContainerName",
    "ContainerEntrypoint",
    "ContainerImageID",
    "ContainerImageName",
    "DaemonName",
    "LogPath",
    "ID",
    "FullID",
    "Name",
    "ImageID",
    "ImageFullID",
    "ImageName",
    "Command",
    "Hostname",
];

#[derive(Debug)]
struct Info {
    id: String,
    name: String,
    image: String,
    image_name: String,
    program: String,
    args: Vec<String>,
    path: String,
}

impl Info {
    fn text(&self, name: &str) -> Option<String> {
        let bare_image = self.image.split_once(':').map_or(self.image.as_str(), |(_, digits)| digits);
        let short = |id: &str| id[..id.len().min(SHORT)].to_owned();
        Some(match name {
            "ContainerID" | "FullID" => self.id.clone(),
            "ID" => short(&self.id),
            "ContainerName" => format!("/{}", self.name),
            "Name" => self.name.clone(),
            "ContainerImageID" | "ImageFullID" => self.image.clone(),
            "ImageID" => short(bare_image),
            "ContainerImageName" | "ImageName" => self.image_name.clone(),
            "ContainerEntrypoint" => self.program.clone(),
            "Command" => {
                std::iter::once(&self.program).chain(&self.args).cloned().collect::<Vec<_>>().join(" ")
            }
            "Hostname" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            "DaemonName" => "minke".to_owned(),
            "LogPath" => self.path.clone(),
            _ => return None,
        })
    }
}

impl TemplateRecord for Info {
    fn type_name(&self) -> Rc<str> {
        "*logger.Info".into()
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let text = self.text(name)?;
        if !args.is_empty() {
            return Some(Err(format!("wrong number of args for {name}: want 0 got {}", args.len())));
        }
        Some(Ok(Value::str(text)))
    }

    fn fields(&self) -> Vec<Value> {
        NAMES.iter().filter_map(|name| self.text(name)).map(Value::str).collect()
    }

    fn json(&self) -> serde_json::Value {
        let pairs = NAMES.iter().filter_map(|name| Some(((*name).to_owned(), self.text(name)?.into())));
        serde_json::Value::Object(pairs.collect())
    }
}

/// Fills a tag; the error is the template's own.
pub(super) fn fill(tag: &str, record: &Record, id: &ContainerId, path: &str) -> Result<String, String> {
    let template = Template::parse(tag).map_err(|error| error.to_string())?;
    let (program, args) = record.program();
    let info = Info {
        id: id.as_str().to_owned(),
        name: record.name.clone(),
        image: record.image.clone(),
        image_name: record.config.image.clone(),
        program,
        args,
        path: path.to_owned(),
    };
    let mut text = String::new();
    template
        .execute(&Value::Record(Rc::new(info)), Mode::Lenient, &mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(tag: &str) -> Result<String, String> {
        let record = serde_json::json!({
            "name": "web", "created": crate::clock::Moment(0), "image": "sha256:0123456789abcdef", "layers": [],
            "platform": "linux", "config": {"Image": "busybox:1", "Cmd": ["sh", "-c", "true"]}, "host": {}
        });
        let record = serde_json::from_value(record).expect("a record");
        let id = "ab".repeat(32).parse().expect("an id");
        fill(tag, &record, &id, "/log")
    }

    #[test]
    fn fields_methods_and_functions_are_docker_s() {
        assert_eq!(
            filled("{{.Name}}/{{.ID}}/{{.ImageName}}/{{.ImageID}}").as_deref(),
            Ok("web/abababababab/busybox:1/0123456789ab")
        );
        assert_eq!(filled("{{.Command}} {{upper .ContainerName}}").as_deref(), Ok("sh -c true /WEB"));
        assert_eq!(filled("{{if eq .Name \"web\"}}yes{{end}}").as_deref(), Ok("yes"));
        assert!(filled("{{.Nothing}}").is_err());
        assert!(filled("{{.Name").is_err());
    }
}
