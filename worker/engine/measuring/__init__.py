"""What files weigh, how right and how fast they are; the processes that find out."""
