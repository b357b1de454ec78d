mod broker;
mod ending;
mod reading;
mod replay;
mod slow;
mod stage;
mod time;
