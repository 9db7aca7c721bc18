//! Bags as files: what is read, in which order, and what is said about the ones that are broken.

#[path = "bag/fixture.rs"]
mod fixture;
#[path = "bag/folder.rs"]
mod folder;
#[path = "bag/mcap.rs"]
mod mcap_files;
#[path = "bag/properties.rs"]
mod properties;
#[path = "bag/sqlite.rs"]
mod sqlite;
#[path = "bag/writer.rs"]
mod writer;
