//! The names of all repositories, in order.

use super::{Page, Registry, Result};
use oci::RepositoryName;
use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{PoisonError, RwLock},
};

/// The names, once they were asked for.
#[derive(Default)]
pub(super) struct Catalog {
    names: RwLock<Option<BTreeSet<RepositoryName>>>,
}

impl Catalog {
    /// Tells of a repository that something was stored in.
    pub(super) fn add(&self, name: &RepositoryName) {
        {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            match &*names {
                None => return,
                Some(names) if names.contains(name) => return,
                Some(_) => {}
            }
        }
        if let Some(names) = &mut *self.names.write().unwrap_or_else(PoisonError::into_inner) {
            names.insert(name.clone());
        }
    }
}

impl Registry {
    /// A page of the names of the repositories that something was ever stored in, in ASCII order: those after `last`, at most
    /// `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn catalog(&self, last: Option<&str>, limit: Option<usize>) -> Result<Page> {
        let catalog = &self.0.catalog.names;
        if let Some(names) = &*catalog.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(page(names, last, limit));
        }
        let mut names = catalog.write().unwrap_or_else(PoisonError::into_inner);
        if names.is_none() {
            *names = Some(self.storage().repositories()?.into_iter().collect());
        }
        Ok(names
            .as_ref()
            .map_or_else(Page::default, |names| page(names, last, limit)))
    }
}

fn page(names: &BTreeSet<RepositoryName>, last: Option<&str>, limit: Option<usize>) -> Page {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    Page::of(
        names
            .range::<str, _>((from, Bound::Unbounded))
            .map(RepositoryName::as_str),
        limit,
    )
}
