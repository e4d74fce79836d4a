//! A table: entries in the order of their keys, written once.
//!
//! ```text
//! blocks    length of the payload (4 bytes), its checksum (4), the payload: about 4 KiB of entries
//! index     number of keys; of each block its place, its length and its first key; the filter
//! foot      place of the index (8 bytes), its length (4), its checksum (4), "LEDGER 1"
//! ```
//!
//! The index is in memory while the table is open. One that is damaged is made anew from the blocks.

use super::{
    Entry,
    bloom::Bloom,
    codec::{self, Reader, write_bytes, write_entry, write_number},
    damaged,
    names::TableName,
    open::file_name,
};
use crate::storage::disk::{self, NewFile};
use bytes::Bytes;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const BLOCK_BYTES: usize = 4096;
const BLOCK_HEAD_BYTES: u64 = 8;
const FOOT_BYTES: u64 = 24;
const MAGIC: &[u8; 8] = b"LEDGER 1";

/// A table that is open.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    path: PathBuf,
    file: File,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Number of entries.
    pub(super) keys: u64,
    blocks: Vec<Block>,
    bloom: Bloom,
    /// Whether what the file says of itself did not make sense.
    pub(super) has_damaged_index: bool,
    /// Whether all blocks were found all the same.
    pub(super) is_complete: bool,
}

#[derive(Debug)]
struct Block {
    first_key: Bytes,
    offset: u64,
    len: u32,
}

impl Table {
    pub(super) fn open(folder: &Path, name: TableName) -> io::Result<Table> {
        let path = name.path(folder);
        let file = disk::open(&path)?;
        let bytes = file.metadata()?.len();
        let (index, has_damaged_index, is_complete) = match Index::read(&file, &path, bytes) {
            Ok(index) => (index, false, true),
            Err(error) if is_damage(&error) => {
                let (index, end) = Index::from_blocks(&file, &path, bytes)?;
                (
                    index,
                    true,
                    index_offset(&file, bytes).is_ok_and(|offset| offset == end),
                )
            }
            Err(error) => return Err(error),
        };
        Ok(Table {
            name,
            path,
            file,
            bytes,
            keys: index.keys,
            blocks: index.blocks,
            bloom: index.bloom,
            has_damaged_index,
            is_complete,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// What the table says of a key; `None` if nothing.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Entry>> {
        if !self.bloom.may_have(key) {
            return Ok(None);
        }
        let Some(number) = self
            .blocks
            .partition_point(|block| block.first_key <= key)
            .checked_sub(1)
        else {
            return Ok(None);
        };
        codec::find(&self.payload(number)?, key).map_err(|codec::Nonsense| self.damage(number))
    }

    /// Number of the first block that may have keys from this one on.
    pub(super) fn first_block(&self, key: &[u8]) -> usize {
        self.blocks
            .partition_point(|block| block.first_key <= key)
            .saturating_sub(1)
    }

    /// The entries of a block.
    pub(super) fn entries(&self, number: usize) -> io::Result<Vec<(Bytes, Entry)>> {
        let payload = self.payload(number)?;
        codec::entries(&payload)
            .collect::<Result<_, _>>()
            .map_err(|codec::Nonsense| self.damage(number))
    }

    fn payload(&self, number: usize) -> io::Result<Bytes> {
        let block = &self.blocks[number];
        match read_block(&self.file, &self.path, block.offset, Some(block.len)) {
            Err(error) if is_damage(&error) => Err(self.damage(number)),
            read => read,
        }
    }

    fn damage(&self, number: usize) -> io::Error {
        let file = file_name(&self.path);
        damaged(format!("block {number} of {file}"))
    }
}

/// A read that goes beyond the end is damage as well: something cut the file off.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn read_block(file: &File, path: &Path, offset: u64, expected: Option<u32>) -> io::Result<Bytes> {
    let mut head = [0; BLOCK_HEAD_BYTES as usize];
    let (len, mut bytes);
    match expected {
        Some(expected) => {
            bytes = vec![0; head.len() + expected as usize];
            disk::read_exact_at(file, path, &mut bytes, offset)?;
            head.copy_from_slice(&bytes[..BLOCK_HEAD_BYTES as usize]);
            len = be32(&head[..4]);
            if len != expected {
                return Err(damaged("the length"));
            }
        }
        None => {
            disk::read_exact_at(file, path, &mut head, offset)?;
            len = be32(&head[..4]);
            if u64::from(len) > file.metadata()?.len() {
                return Err(damaged("the length"));
            }
            bytes = vec![0; head.len() + len as usize];
            file.read_exact_at(&mut bytes, offset)?;
        }
    }
    let payload = Bytes::from(bytes).slice(head.len()..);
    if crc32fast::hash(&payload) == be32(&head[4..]) {
        Ok(payload)
    } else {
        Err(damaged("the block"))
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where the foot says that the index begins, if its length agrees.
fn index_offset(file: &File, bytes: u64) -> io::Result<u64> {
    let nonsense = || damaged("the foot");
    let foot_at = bytes.checked_sub(FOOT_BYTES).ok_or_else(nonsense)?;
    let mut foot = [0; FOOT_BYTES as usize];
    file.read_exact_at(&mut foot, foot_at)?;
    let (offset, len) = (be64(&foot), be32(&foot[8..]));
    if &foot[16..] == MAGIC && offset.checked_add(u64::from(len)) == Some(foot_at) {
        Ok(offset)
    } else {
        Err(nonsense())
    }
}

/// What is in memory of a table.
struct Index {
    keys: u64,
    blocks: Vec<Block>,
    bloom: Bloom,
}

impl Index {
    fn read(file: &File, path: &Path, bytes: u64) -> io::Result<Index> {
        let offset = index_offset(file, bytes)?;
        let end = bytes - FOOT_BYTES;
        let mut index = vec![0; usize::try_from(end - offset).map_err(|_| io::ErrorKind::OutOfMemory)?];
        disk::read_exact_at(file, path, &mut index, offset)?;
        let mut sum = [0; 4];
        file.read_exact_at(&mut sum, end + 12)?;
        if crc32fast::hash(&index) != be32(&sum) {
            return Err(damaged("the index"));
        }
        Index::parse(&Bytes::from(index)).ok_or_else(|| damaged("the index"))
    }

    fn parse(bytes: &Bytes) -> Option<Index> {
        let mut reader = Reader::new(bytes);
        let keys = reader.number()?;
        let count = usize::try_from(reader.number()?)
            .ok()
            .filter(|count| *count <= bytes.len())?;
        let mut blocks = Vec::with_capacity(count);
        let mut offset = 0;
        for _ in 0..count {
            let len = u32::try_from(reader.number()?).ok()?;
            blocks.push(Block {
                first_key: reader.bytes()?,
                offset,
                len,
            });
            offset += BLOCK_HEAD_BYTES + u64::from(len);
        }
        let bloom = Bloom::from_bytes(reader.bytes()?.to_vec())?;
        reader.is_at_end().then_some(Index { keys, blocks, bloom })
    }

    /// Reads blocks from the beginning until something is none; and where that was.
    fn from_blocks(file: &File, path: &Path, bytes: u64) -> io::Result<(Index, u64)> {
        let (mut blocks, mut keys, mut offset) = (Vec::new(), Vec::new(), 0);
        while offset < bytes {
            let payload = match read_block(file, path, offset, None) {
                Ok(payload) => payload,
                Err(error) if is_damage(&error) => break,
                Err(error) => return Err(error),
            };
            let Ok(entries) = codec::entries(&payload).collect::<Result<Vec<_>, _>>() else {
                break;
            };
            let Some((first_key, _)) = entries.first() else {
                break;
            };
            blocks.push(Block {
                first_key: first_key.clone(),
                offset,
                len: payload.len() as u32,
            });
            keys.extend(entries.into_iter().map(|(key, _)| key));
            offset += BLOCK_HEAD_BYTES + payload.len() as u64;
        }
        let mut bloom = Bloom::for_keys(keys.len());
        keys.iter().for_each(|key| bloom.add(key));
        let index = Index {
            keys: keys.len() as u64,
            blocks,
            bloom,
        };
        Ok((index, offset))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_number(&mut out, self.keys);
        write_number(&mut out, self.blocks.len() as u64);
        for block in &self.blocks {
            write_number(&mut out, u64::from(block.len));
            write_bytes(&mut out, &block.first_key);
        }
        write_bytes(&mut out, self.bloom.bytes());
        out
    }
}

/// A table that is being written. Nobody sees it before [`Writer::finish`]; dropped before, it leaves nothing.
pub(super) struct Writer {
    folder: PathBuf,
    name: TableName,
    file: BufWriter<NewFile>,
    block: Vec<u8>,
    first_key: Bytes,
    index: Index,
    offset: u64,
    is_finished: bool,
}

impl Writer {
    /// Begins a table of at most so many keys.
    pub(super) fn create(folder: &Path, name: TableName, keys: usize) -> io::Result<Writer> {
        Ok(Writer {
            folder: folder.to_owned(),
            name,
            file: BufWriter::with_capacity(256 << 10, NewFile::create(&name.unfinished(folder))?),
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            first_key: Bytes::new(),
            index: Index {
                keys: 0,
                blocks: Vec::new(),
                bloom: Bloom::for_keys(keys),
            },
            offset: 0,
            is_finished: false,
        })
    }

    /// Appends an entry. Its key is greater than those before.
    pub(super) fn add(&mut self, key: &[u8], entry: &Entry) -> io::Result<()> {
        if self.block.is_empty() {
            self.first_key = Bytes::copy_from_slice(key);
        }
        write_entry(&mut self.block, key, entry);
        self.index.bloom.add(key);
        self.index.keys += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.block.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.file.write_all(&len.to_be_bytes())?;
        self.file.write_all(&crc32fast::hash(&self.block).to_be_bytes())?;
        self.file.write_all(&self.block)?;
        self.index.blocks.push(Block {
            first_key: std::mem::take(&mut self.first_key),
            offset: self.offset,
            len,
        });
        self.offset += BLOCK_HEAD_BYTES + u64::from(len);
        self.block.clear();
        Ok(())
    }

    /// Makes it a table, whole from the first moment that it has its name.
    pub(super) fn finish(mut self, durable: bool) -> io::Result<Table> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let index = self.index.bytes();
        let len = u32::try_from(index.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.file.write_all(&index)?;
        self.file.write_all(&self.offset.to_be_bytes())?;
        self.file.write_all(&len.to_be_bytes())?;
        self.file.write_all(&crc32fast::hash(&index).to_be_bytes())?;
        self.file.write_all(MAGIC)?;
        self.file.flush()?;
        if durable {
            self.file.get_ref().sync()?;
        }
        disk::rename(&self.name.unfinished(&self.folder), &self.name.path(&self.folder))?;
        self.is_finished = true;
        if durable {
            disk::sync_folder(&self.folder)?;
        }
        Table::open(&self.folder, self.name)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = disk::remove(&self.name.unfinished(&self.folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use std::fs;

    const NAME: TableName = TableName { first: 1, last: 2 };

    fn key(n: u64) -> Vec<u8> {
        format!("key {n:06}").into_bytes()
    }

    fn entry(n: u64) -> Entry {
        (!n.is_multiple_of(7)).then(|| Value {
            bytes: format!("value of {n}").repeat(1 + (n as usize % 9)).into(),
            millis: n,
        })
    }

    /// A table of the even numbers below 4,000.
    fn table(folder: &Path) -> Table {
        let mut writer = Writer::create(folder, NAME, 2_000).expect("a writer");
        for n in (0..4_000).step_by(2) {
            writer.add(&key(n), &entry(n)).expect("an entry");
        }
        writer.finish(true).expect("a table")
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let table = table(folder.path());
        assert!(table.blocks() > 20 && !table.has_damaged_index);
        for n in 0..4_001 {
            let expected = (n % 2 == 0 && n < 4_000).then(|| entry(n));
            assert_eq!(table.get(&key(n)).expect("an answer"), expected, "{n}");
        }
        assert_eq!(table.get(b"").expect("an answer"), None);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = Writer::create(folder.path(), NAME, 1).expect("a writer");
        writer.add(b"key", &None).expect("an entry");
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_flipped_bit_fails_the_keys_of_its_block_or_costs_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let blocks = table(folder.path()).blocks();
        let path = NAME.path(folder.path());
        let good = fs::read(&path).expect("the table");
        let all = good.len();
        for at in [
            0,
            5,
            9,
            all / 3,
            all / 2,
            all - 1,
            all - 12,
            all - 20,
            all - 30,
            all - 3_000,
        ] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&path, bad).expect("a table");
            let table = Table::open(folder.path(), NAME).expect("a table");
            let mut failed = 0;
            for n in (0..4_000).step_by(2) {
                match table.get(&key(n)) {
                    Ok(found) => assert_eq!(found, Some(entry(n)), "byte {at}"),
                    Err(error) => {
                        assert!(
                            is_damage(&error) && error.to_string().contains("block"),
                            "{error}"
                        );
                        failed += 1;
                    }
                }
            }
            assert_eq!(table.has_damaged_index, failed == 0, "byte {at}");
            // In the foot, only the index's checksum is of no account for where the blocks end.
            assert_eq!(table.is_complete, at < all - 24 || at == all - 12, "byte {at}");
            assert!(failed < 4 * 2_000 / blocks, "byte {at}: {failed}");
        }
    }

    #[test]
    fn a_table_that_was_cut_off_keeps_its_first_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        table(folder.path());
        let path = NAME.path(folder.path());
        let good = fs::read(&path).expect("the table");
        for len in [0, 1, 23, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..len]).expect("a table");
            let table = Table::open(folder.path(), NAME).expect("a table");
            assert!(table.has_damaged_index && !table.is_complete);
            for n in (0..table.keys).map(|n| 2 * n) {
                assert_eq!(table.get(&key(n)).expect("an answer"), Some(entry(n)));
            }
            assert!(len < good.len() / 2 || table.keys > 800);
        }
    }
}
