mod ending;
mod hearing;
mod replay;
mod slow;
mod stage;
mod time;
