"""A service that predicts over HTTP: built on Starlette and uvicorn (the extra `serve`)."""

from .app import application as application
from .limits import Limits as Limits
from .server import Listener as Listener
from .server import run as run
