//! One shard: one core, one executor. Only this folder names glommio.

pub mod clock;
