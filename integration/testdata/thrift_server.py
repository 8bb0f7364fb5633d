"""A Thrift server, written as servers in Python are: the generated code and the
library's threaded server. It appends the ids of calls that it executes to a
file, and says "serving, pid N" once it can be called.

    thrift_server.py GENERATED-CODE PORT FILE
"""

import os
import random
import sys
import time

sys.path.insert(0, sys.argv[1])

from ledger import Ledger
from thrift.protocol import TBinaryProtocol
from thrift.server import TServer
from thrift.transport import TSocket, TTransport


def work():
    """Takes a few milliseconds, so that calls are under way when something
    happens to the server."""
    time.sleep(random.uniform(0, 0.004))


class Handler:
    def __init__(self, path):
        self.fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)

    def echo(self, text):
        work()
        return text

    def record(self, id):
        os.write(self.fd, (id + "\n").encode())
        work()
        return id


class Socket(TSocket.TServerSocket):
    def listen(self):
        super().listen()
        print("serving, pid", os.getpid(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    TServer.TThreadedServer(
        Ledger.Processor(Handler(sys.argv[3])),
        Socket("127.0.0.1", int(sys.argv[2])),
        TTransport.TFramedTransportFactory(),
        TBinaryProtocol.TBinaryProtocolFactory(),
        daemon=True,
    ).serve()
