'use strict';
// Loaded into each Node process before its program (NODE_OPTIONS): notes the process, the hosts that
// it looks up or connects to, and the programs that it starts, a line each in the file CLI_WATCH.
// What is not on this machine is not called: neither a host nor one that a name would have to find.
const { appendFileSync } = require('node:fs');
const childProcess = require('node:child_process');
const dns = require('node:dns');
const { syncBuiltinESMExports } = require('node:module');
const net = require('node:net');

const note = (kind, what) => appendFileSync(process.env.CLI_WATCH, `${kind} ${what}\n`);

// Calls `watch` with the arguments, then the method itself, whose properties (what `promisify` makes
// of it) the new one has too.
const before = (owner, method, watch) => {
  const original = owner[method];
  const watched = function (...given) {
    watch(...given);
    return original.apply(this, given);
  };
  owner[method] = Object.defineProperties(watched, Object.getOwnPropertyDescriptors(original));
};

// (port, host), (path), (options) or, from within Node, ([options, callback]).
const destination = (first, second) => {
  const given = Array.isArray(first) ? first[0] : first;
  if (given === null || typeof given !== 'object') {
    return typeof second === 'string' ? second : 'localhost';
  }
  return given.path ?? given.host ?? 'localhost';
};

const loopback = new net.BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

const noteHost = (host) => {
  note('host', host);
  if (host !== 'localhost' && !(net.isIP(host) && loopback.check(host, `ipv${net.isIP(host)}`))) {
    throw new Error(`The tests let nobody call ${host}.`);
  }
};

note('process', process.pid);
before(net.Socket.prototype, 'connect', (...given) => noteHost(destination(...given)));
before(dns, 'lookup', noteHost);
before(dns.promises, 'lookup', noteHost);
before(childProcess.ChildProcess.prototype, 'spawn', ({ file }) => note('program', file));
for (const method of ['execFileSync', 'execSync', 'spawnSync']) {
  before(childProcess, method, (file) => note('program', file));
}
syncBuiltinESMExports();
