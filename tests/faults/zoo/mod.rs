//! The fault zoo: networks trained with one thing wrong, the same done right, and how well the rules tell them apart.

pub mod case;
pub mod data;
pub mod nets;
pub mod report;
pub mod score;
pub mod train;
