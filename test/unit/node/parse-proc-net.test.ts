import { expect, test } from 'vitest';
import { parseFdLimits, parseListeningSockets } from '../../../src/node/parse-proc-net.ts';

const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 333 1 0000000000000000 20 4 30 10 -1
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1 0000000000000000 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 55 1 0000000000000000 100 0 0 10 0
   2: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 66 1 0000000000000000 100 0 0 10 0
`;

test('listening sockets are read, connections are not', () => {
  expect(parseListeningSockets(TCP)).toEqual([
    { address: '127.0.0.1', port: 8080, uid: 1000, inode: '12345' },
    { address: '0.0.0.0', port: 80, uid: 0, inode: '222' },
  ]);
});

test('IPv6, IPv4 written as IPv6, and the wildcard', () => {
  expect(parseListeningSockets(TCP6).map((socket) => socket.address)).toEqual(['::1', '127.0.0.1', '::']);
});

test('an empty or foreign text holds no sockets', () => {
  expect(parseListeningSockets('')).toEqual([]);
  expect(parseListeningSockets('0: zz:zz 0 0A 0 0 0 0 0 1\n')).toEqual([]);
});

test('the limits of open files', () => {
  const text = 'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \n';
  expect(parseFdLimits(text)).toEqual({ soft: 1024, hard: 524_288 });
  expect(parseFdLimits(text.replace('524288', 'unlimited'))).toEqual({ soft: 1024, hard: Number.POSITIVE_INFINITY });
  expect(parseFdLimits('')).toBeUndefined();
});
