mod replay;
mod slow;
mod stage;
mod time;
