"""What can keep the stack from coming up."""

from app.errors import Conflict, Unavailable


class StackNotStarted(Unavailable):
    code = "stack_not_started"
    title = "The stack could not be started"


class HomeInUse(Conflict):
    code = "home_in_use"
    title = "Another stack runs on this home"
