mod broker;
mod ending;
mod memory;
mod reading;
mod replay;
mod slow;
mod stage;
mod time;
