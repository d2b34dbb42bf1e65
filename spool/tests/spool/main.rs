//! The spool from outside: what it promises, on a disk in memory and on a real one.

mod backlog;
mod basics;
mod campaign;
mod damage;
mod golden;
mod inspection;
mod limits;
mod operations;
mod real;
mod rig;
