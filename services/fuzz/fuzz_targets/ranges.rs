//! The target `ranges`: under libFuzzer its loop, else a program that replays files.
#![cfg_attr(fuzzing, no_main)]

fuzz::target!(ranges);
