"""Flower asks for a client in each app. The nodes here are tabs and Node processes, which do not use it."""

from flwr.clientapp import ClientApp

app = ClientApp()
