//! Bags as files: what is read, in which order, and what is said about the ones that are broken.

pub(crate) mod fixture;
mod folder;
mod mcap_files;
mod properties;
mod recover;
mod sqlite;
mod writer;
