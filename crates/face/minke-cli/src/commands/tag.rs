//! `tag`: one more name for an image.

use crate::command::{Args, Command};
use crate::flag::Complete;
use minke_base::Reference;
use minke_client::Client;

pub(crate) const TAG: Command = Command {
    paths: &["image tag", "tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image one more name",
    details: "",
    args: Args::Exactly(2),
    flags: &[],
    interspersed: true,
    complete: Complete::Images,
    run: |session, given| {
        let [source, target] = [&given.args[0], &given.args[1]];
        if let Err(why) = Reference::parse(source)
            && !minke_base::id::is_id_prefix(source)
            && !source.starts_with("sha256:")
        {
            return Err(
                format!("Error parsing reference: {source:?} is not a valid repository/tag: {why}").into()
            );
        }
        let wanted = Reference::parse(target).map_err(|why| {
            format!("Error parsing reference: {target:?} is not a valid repository/tag: {why}")
        })?;
        if target.contains('@') {
            return Err("refusing to create a tag with a digest reference".into());
        }
        let path = format!("/images/{}/tag", Client::segment(source));
        let tag = wanted.tag().unwrap_or("latest").to_owned();
        session.client()?.post(&path).query("repo", wanted.familiar_name()).query("tag", tag).send()?;
        Ok(0)
    },
};
