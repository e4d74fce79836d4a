//! Room that the store keeps back for what takes something away. That is a record, too, so on a full disk nothing could be.
//!
//! Collections have a reserve, and what clients delete has another, so that whoever deletes leaves the next collection its own.
//! Both are laid after the start and again after each collection and each purge of uploads, unless they are there; that of the deletes
//! also after the one that took it, if there is room by then.

use super::{Registry, Result};
use crate::storage::{self, Change, Reserve};
use std::cell::Cell;

/// The reserve of collections during one. It is given up before the first thing goes, and not at all if nothing does: others who
/// write might take its room. When this is dropped, what is not there of the reserves is laid again.
pub(super) struct RoomToCollect<'a> {
    registry: &'a Registry,
    is_given_up: Cell<bool>,
}

impl<'a> RoomToCollect<'a> {
    pub(super) fn of(registry: &'a Registry) -> RoomToCollect<'a> {
        RoomToCollect {
            registry,
            is_given_up: Cell::new(false),
        }
    }

    /// From now on a removal has room, unless somebody else takes it.
    pub(super) fn give_up(&self) {
        if !self.is_given_up.replace(true) {
            self.registry.give_up(Reserve::Collection);
        }
    }
}

impl Drop for RoomToCollect<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.registry.lay_all() {
            log::warn!("no room is kept back for the next collection of garbage or for deletes: {error}");
        }
    }
}

impl Registry {
    /// Has the store keep back the room that collections and deletes need on a full disk.
    ///
    /// # Errors
    /// The registry is read-only, there is no room, or the store failed.
    pub fn lay_reserves(&self) -> Result<()> {
        self.require_writable()?;
        // Else the room that a collection has just given up would be taken from it.
        let _alone = self.0.locks.collect();
        Ok(self.lay_all()?)
    }

    /// That of collections first: without it, nothing would ever be freed.
    fn lay_all(&self) -> storage::Result<()> {
        // Else the room that a delete has just given up would be taken from it.
        let _alone = self.0.locks.delete_on_full_disk();
        self.storage().lay_reserve(Reserve::Collection)?;
        self.storage().lay_reserve(Reserve::Deletes)
    }

    /// There may be room enough without it, so that what fails is only told.
    fn give_up(&self, reserve: Reserve) {
        if let Err(error) = self.storage().give_up_reserve(reserve) {
            log::warn!("the room that is kept back cannot be given up: {error}");
        }
    }

    /// Commits what a client takes away: removals, which may be committed twice. Where there is no room to write them down, they
    /// get what is kept back for them. It may be that others take it before them; then they fail for want of room.
    pub(super) fn commit_deletion(&self, removals: &[Change]) -> storage::Result<()> {
        let committed = self.storage().commit(removals);
        if !committed.as_ref().is_err_and(storage::StorageError::is_full) {
            return committed;
        }
        let _alone = self.0.locks.delete_on_full_disk();
        self.give_up(Reserve::Deletes);
        let committed = self.storage().commit(removals);
        // A collection under way may just have given its own room up; it lays both when it ends.
        if let Some(_none) = self.0.locks.collect_unless_under_way()
            && let Err(error) = self.storage().lay_reserve(Reserve::Deletes)
        {
            log::warn!("the disk is full, and no room is kept back for more deletes: {error}");
        }
        committed
    }
}
