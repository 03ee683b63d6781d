//! Docker's own archives: `manifest.json` (since 1.10), and `repositories` with a directory per layer (before).

use std::collections::BTreeMap;

use minke_base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ArchiveError;
use super::held::{Held, WantedLayer};
use super::load::{Plan, add_name, parse, plan_manifest, reference};
use crate::content::hash;
use crate::document::{Descriptor, ImageConfig, media_type, null_as_default};
use crate::store::LAYERS_MAX;

/// One image in `manifest.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) layers: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) layer_sources: BTreeMap<Digest, Descriptor>,
}

fn items(held: &Held<'_>) -> Result<Vec<Item>, ArchiveError> {
    parse("manifest.json", held.document("manifest.json")?)
}

pub(super) fn plan(held: &Held<'_>) -> Result<Vec<Plan>, ArchiveError> {
    items(held)?.into_iter().map(|item| plan_item(held, &item)).collect()
}

fn plan_item(held: &Held<'_>, item: &Item) -> Result<Plan, ArchiveError> {
    let config = held.document(&item.config)?.to_vec();
    // The file is named after its digest; one that is not keeps its free name.
    let stem = item.config.rsplit('/').next().unwrap_or_default();
    if let Ok(expected) = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)) {
        let found = hash(&config);
        if found != expected {
            return Err(ArchiveError::EntryDigest { name: item.config.clone(), expected, found });
        }
    }
    let parsed: ImageConfig = parse(&item.config, &config)?;
    if parsed.rootfs.diff_ids.len() != item.layers.len() {
        return Err(ArchiveError::LayerCount {
            image: item.config.clone(),
            layers: item.layers.len(),
            diff_ids: parsed.rootfs.diff_ids.len(),
        });
    }
    if item.layers.len() > LAYERS_MAX {
        return Err(ArchiveError::TooDeep { image: item.config.clone(), layers: item.layers.len() });
    }
    let mut layers = Vec::with_capacity(item.layers.len());
    for (entry, diff_id) in item.layers.iter().zip(&parsed.rootfs.diff_ids) {
        layers.push(WantedLayer { blob: held.blob(entry)?, entry: Some(entry.clone()), diff_id: *diff_id });
    }
    let names = item.repo_tags.iter().flatten().filter_map(|name| reference(name)).collect();
    let manifest = plan_manifest(&config, &layers)?;
    Ok(Plan {
        manifest,
        manifest_type: media_type::OCI_MANIFEST.to_owned(),
        config,
        parsed,
        layers,
        names,
        index: None,
    })
}

/// Adds the names that `manifest.json` knows to images that were found by `index.json`.
pub(super) fn add_names(held: &Held<'_>, plans: &mut [Plan]) -> Result<(), ArchiveError> {
    for item in items(held)? {
        let Ok(config) = held.document(&item.config) else { continue };
        let id = hash(config);
        for plan in plans.iter_mut().filter(|plan| hash(&plan.config) == id) {
            for name in item.repo_tags.iter().flatten().filter_map(|name| reference(name)) {
                add_name(&mut plan.names, name);
            }
        }
    }
    Ok(())
}

/// The oldest form: `repositories` maps names to layer directories, each with a `json` that names its parent.
pub(super) fn plan_legacy(held: &Held<'_>) -> Result<Vec<Plan>, ArchiveError> {
    let repositories: BTreeMap<String, BTreeMap<String, String>> =
        parse("repositories", held.document("repositories")?)?;
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for (repository, tags) in repositories {
        for (tag, top) in tags {
            let Some(name) = reference(&format!("{repository}:{tag}")) else { continue };
            if let Some((_, plan)) = plans.iter_mut().find(|(known, _)| *known == top) {
                add_name(&mut plan.names, name);
                continue;
            }
            let mut plan = plan_chain(held, &top)?;
            plan.names.push(name);
            plans.push((top, plan));
        }
    }
    Ok(plans.into_iter().map(|(_, plan)| plan).collect())
}

/// Builds a configuration out of the chain of old ones: the top one's, with every layer as a step of history.
fn plan_chain(held: &Held<'_>, top: &str) -> Result<Plan, ArchiveError> {
    let mut chain: Vec<(String, Map<String, Value>)> = Vec::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next {
        if id.is_empty() || id.contains(['/', '.']) || chain.len() == LAYERS_MAX {
            return Err(ArchiveError::Unsupported(format!(
                "layer {id:?} of image {top} is not a layer's name"
            )));
        }
        let name = format!("{id}/json");
        let json: Map<String, Value> = parse(&name, held.document(&name)?)?;
        next =
            json.get("parent").and_then(Value::as_str).filter(|parent| !parent.is_empty()).map(str::to_owned);
        chain.push((id, json));
    }
    chain.reverse();
    let (mut layers, mut diff_ids, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (id, json) in &chain {
        let entry = format!("{id}/layer.tar");
        let blob = held.blob(&entry)?;
        let diff_id = held.diff_id(&entry).unwrap_or(blob.digest);
        diff_ids.push(Value::String(diff_id.to_string()));
        history.push(plan_step(json));
        layers.push(WantedLayer { entry: Some(entry), blob, diff_id });
    }
    let mut config = chain.pop().map(|(_, json)| json).unwrap_or_default();
    for gone in ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"] {
        config.remove(gone);
    }
    config.insert("rootfs".to_owned(), serde_json::json!({"type": "layers", "diff_ids": diff_ids}));
    config.insert("history".to_owned(), Value::Array(history));
    let sorted: BTreeMap<String, Value> = config.into_iter().collect();
    let config = serde_json::to_vec(&sorted).map_err(ArchiveError::Encode)?;
    let parsed = parse(top, &config)?;
    let manifest = plan_manifest(&config, &layers)?;
    let manifest_type = media_type::OCI_MANIFEST.to_owned();
    Ok(Plan { manifest, manifest_type, config, parsed, layers, names: Vec::new(), index: None })
}

fn plan_step(json: &Map<String, Value>) -> Value {
    let mut step = Map::new();
    let command = json
        .get("container_config")
        .and_then(|config| config.get("Cmd"))
        .and_then(Value::as_array)
        .map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    for key in ["created", "author", "comment"] {
        if let Some(value) = json.get(key).filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
        {
            step.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(command) = command.filter(|command| !command.is_empty()) {
        step.insert("created_by".to_owned(), Value::String(command));
    }
    Value::Object(step)
}
