"""The probe service, as python3-thrift serves it; see python_test.go.

    server.py framed|buffered|header binary|compact threaded|nonblocking

It prints its endpoint, and ends when standard input does.
"""

import os
import sys
import threading

from thrift.protocol import TBinaryProtocol, TCompactProtocol, THeaderProtocol
from thrift.server import TNonblockingServer, TServer
from thrift.Thrift import (
    TApplicationException, TException, TMessageType, TProcessor, TType)
from thrift.transport import TSocket, TTransport
from thrift.protocol.TBase import TBase
from thrift.transport.TTransport import TTransportException


def struct(*fields):
    """A struct with some fields, each (id, type, name)."""
    spec = [None] * (max([f[0] for f in fields], default=0) + 1)
    for number, kind, name, *of in fields:
        spec[number] = (number, kind, name, of[0] if of else None, None)

    class Struct(TBase):
        thrift_spec = tuple(spec)

        def __init__(self, **values):
            for _, _, name, *_ in fields:
                setattr(self, name, values.get(name))

    return Struct


class Refused(TException, TBase):
    thrift_spec = (None, (1, TType.STRING, 'reason', 'UTF8', None))

    def __init__(self, reason=None):
        self.reason = reason


METHODS = {  # name: arguments, result (None: oneway)
    'echo': (struct((1, TType.STRING, 'text', 'UTF8')), struct((0, TType.STRING, 'success', 'UTF8'))),
    'count': (struct((1, TType.STRING, 'id', 'UTF8')), struct((0, TType.I64, 'success'))),
    'refuse': (struct((1, TType.STRING, 'reason', 'UTF8')),
               struct((1, TType.STRUCT, 'refused', [Refused, Refused.thrift_spec]))),
    'crash': (struct(), struct()),
    'blob': (struct((1, TType.I32, 'size')), struct((0, TType.STRING, 'success', 'BINARY'))),
    'note': (struct((1, TType.STRING, 'id', 'UTF8')), None),
}

counts = {}
lock = threading.Lock()


def count(name):
    with lock:
        counts[name] = counts.get(name, 0) + 1
        return counts[name]


class Processor(TProcessor):
    def process(self, iprot, oprot):
        name, _, seq = iprot.readMessageBegin()
        if name not in METHODS:
            iprot.skip(TType.STRUCT)
            iprot.readMessageEnd()
            self.answer(oprot, name, seq, TMessageType.EXCEPTION, TApplicationException(
                TApplicationException.UNKNOWN_METHOD, 'Unknown function %s' % name))
            return
        arguments, result = METHODS[name]
        args = arguments()
        args.read(iprot)
        iprot.readMessageEnd()
        if name == 'crash':
            self.answer(oprot, name, seq, TMessageType.EXCEPTION, TApplicationException(
                TApplicationException.INTERNAL_ERROR, 'Internal error'))
        elif name == 'refuse':
            self.answer(oprot, name, seq, TMessageType.REPLY, result(refused=Refused(args.reason)))
        elif name == 'note':
            count(args.id)
        else:
            success = {
                'echo': lambda: args.text,
                'count': lambda: count(args.id),
                'blob': lambda: bytes(args.size),
            }[name]()
            self.answer(oprot, name, seq, TMessageType.REPLY, result(success=success))

    def answer(self, oprot, name, seq, kind, value):
        oprot.writeMessageBegin(name, kind, seq)
        value.write(oprot)
        oprot.writeMessageEnd()
        oprot.trans.flush()


def main(transport, protocol, kind):
    socket = TSocket.TServerSocket('127.0.0.1', 0)
    socket.listen()
    port = socket.handle.getsockname()[1]
    socket.listen = lambda: None
    protocols = {
        'binary': TBinaryProtocol.TBinaryProtocolFactory(),
        'compact': TCompactProtocol.TCompactProtocolFactory(),
    }[protocol]
    if transport == 'header':
        protocols = THeaderProtocol.THeaderProtocolFactory()
    transports = {
        'framed': TTransport.TFramedTransportFactory(),
        'buffered': TTransport.TBufferedTransportFactory(),
        'header': TTransport.TTransportFactoryBase(),
    }[transport]
    if kind == 'nonblocking':
        server = TNonblockingServer.TNonblockingServer(Processor(), socket, protocols, protocols)
    else:
        server = TServer.TThreadedServer(Processor(), socket, transports, protocols, daemon=True)
    threading.Thread(target=server.serve, daemon=True).start()
    print('127.0.0.1:%d' % port, flush=True)
    sys.stdin.read()
    os._exit(0)


main(*sys.argv[1:])
