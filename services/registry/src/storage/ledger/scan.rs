//! Entries of several sources as one sequence in the order of keys; the newest source has the say.

use super::{Entry, memory::Memory, table::Table};
use bytes::Bytes;
use std::{collections::VecDeque, io, sync::Arc};

/// Memories and tables, added newest first.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

/// One of them, at one of its entries.
struct Source {
    ready: VecDeque<(Bytes, Entry)>,
    /// The table that more is read of, and the block that is next.
    rest: Option<(Arc<Table>, usize)>,
    /// Keys below this one are passed over.
    from: Bytes,
    /// Told of damaged blocks, which are then passed over; `None` if they are errors.
    damage: Option<Vec<String>>,
}

impl Sources {
    /// Takes what begins with a prefix.
    pub(super) fn add_memory(&mut self, memory: &Memory, prefix: &[u8]) {
        let ready = memory
            .beginning_with(prefix)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        self.0.push(Source {
            ready,
            rest: None,
            from: Bytes::new(),
            damage: None,
        });
    }

    /// Takes what is not less than a key. Blocks are read when they are come to.
    pub(super) fn add_table(&mut self, table: Arc<Table>, from: &[u8]) {
        let block = table.first_block(from);
        self.0.push(Source {
            ready: VecDeque::new(),
            rest: Some((table, block)),
            from: Bytes::copy_from_slice(from),
            damage: None,
        });
    }

    /// As [`Sources::add_table`] for all of a table, but damaged blocks are passed over.
    pub(super) fn add_what_is_left_of(&mut self, table: Arc<Table>) {
        self.add_table(table, &[]);
        if let Some(source) = self.0.last_mut() {
            source.damage = Some(Vec::new());
        }
    }

    /// The damaged blocks that were passed over.
    pub(super) fn damage(self) -> Vec<String> {
        self.0
            .into_iter()
            .filter_map(|source| source.damage)
            .flatten()
            .collect()
    }

    /// The entry with the next key.
    pub(super) fn next(&mut self) -> io::Result<Option<(Bytes, Entry)>> {
        for source in &mut self.0 {
            source.fill()?;
        }
        let mut newest: Option<usize> = None;
        for (number, source) in self.0.iter().enumerate() {
            if let Some((key, _)) = source.ready.front()
                && newest.is_none_or(|newest| Some(key) < self.0[newest].key())
            {
                newest = Some(number);
            }
        }
        let Some((key, entry)) = newest.and_then(|newest| self.0[newest].ready.pop_front()) else {
            return Ok(None);
        };
        for source in &mut self.0 {
            if source.key() == Some(&key) {
                source.ready.pop_front();
            }
        }
        Ok(Some((key, entry)))
    }
}

impl Source {
    fn key(&self) -> Option<&Bytes> {
        self.ready.front().map(|(key, _)| key)
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.ready.is_empty()
            && let Some((table, block)) = &mut self.rest
            && *block < table.blocks()
        {
            let entries = match (table.entries(*block), &mut self.damage) {
                (Err(error), Some(damage)) if super::table::is_damage(&error) => {
                    damage.push(error.to_string());
                    Vec::new()
                }
                (entries, _) => entries?,
            };
            *block += 1;
            self.ready
                .extend(entries.into_iter().filter(|(key, _)| *key >= self.from));
        }
        Ok(())
    }
}
