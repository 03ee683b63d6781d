//! One file per command or family of commands; this list is the table.

use crate::command::Command;

pub(crate) mod attach;
pub(crate) mod body;
mod build;
pub(crate) mod commit;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod devices;
pub(crate) mod df;
pub(crate) mod diff;
pub(crate) mod each;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod help;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod network_list;
pub(crate) mod networks;
pub(crate) mod options;
pub(crate) mod port;
pub(crate) mod ports;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod security;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod subnets;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod variables;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod volume_list;

/// Every command.
pub(crate) const ALL: &[&Command] = &[
    &run::RUN,
    &create::CREATE,
    &start::START,
    &attach::ATTACH,
    &exec::EXEC,
    &ps::PS,
    &logs::LOGS,
    &each::STOP,
    &each::RESTART,
    &each::KILL,
    &each::PAUSE,
    &each::UNPAUSE,
    &each::RM,
    &each::WAIT,
    &each::RENAME,
    &top::TOP,
    &port::PORT,
    &cp::CP,
    &diff::DIFF,
    &commit::COMMIT,
    &stats::STATS,
    &update::UPDATE,
    &export::EXPORT,
    &inspect::INSPECT,
    &inspect::CONTAINER_INSPECT,
    &inspect::IMAGE_INSPECT,
    &images::IMAGES,
    &images::RMI,
    &history::HISTORY,
    &tag::TAG,
    &pull::PULL,
    &push::PUSH,
    &build::BUILD,
    &build::PRUNE,
    &build::CACHE,
    &load::LOAD,
    &load::IMPORT,
    &save::SAVE,
    &login::LOGIN,
    &search::SEARCH,
    &manifest::INSPECT,
    &manifest::CREATE,
    &manifest::ANNOTATE,
    &manifest::PUSH,
    &manifest::RM,
    &login::LOGOUT,
    &network::CREATE,
    &network_list::LS,
    &network_list::INSPECT,
    &network::CONNECT,
    &network::DISCONNECT,
    &network::RM,
    &network::PRUNE,
    &volume::CREATE,
    &volume_list::LS,
    &volume_list::INSPECT,
    &volume::RM,
    &volume::PRUNE,
    &volume::UPDATE,
    &prune::CONTAINER_PRUNE,
    &prune::IMAGE_PRUNE,
    &prune::SYSTEM_PRUNE,
    &df::DF,
    &version::VERSION,
    &info::INFO,
    &events::EVENTS,
    &context::LS,
    &context::USE,
    &context::SHOW,
    &context::INSPECT,
    &context::CREATE,
    &context::UPDATE,
    &context::RM,
    &completion::BASH,
    &completion::FISH,
    &completion::POWERSHELL,
    &completion::ZSH,
    &man::MAN,
    &help::HELP,
];
