import { CodedError } from '../../../src/model/coded-error.ts';
import { listenerKey } from '../../../src/model/proxy.ts';
import { parseVipPool } from '../../../src/model/vip-pool.ts';
import { ensureNode, removeNode } from '../../../src/node/io/ensure-node.ts';
import { checkListeners } from '../../../src/node/io/ports.ts';
import { readNode } from '../../../src/node/io/read-node.ts';

/**
 * `node-network ensure|remove|read|check|ensure-divert|remove-divert POOL [VIP6|ADDRESS,...]`: the node room inside a network namespace; prints JSON.
 * `check` tests listeners on port 80.
 */
const [command = '', poolText = '', list = ''] = process.argv.slice(2);
const addresses = list === '' ? [] : list.split(',');
const pool = parseVipPool(poolText);
const wanted = { pool, vips6: addresses };

async function answer(): Promise<unknown> {
  switch (command) {
    case 'ensure':
      return ensureNode(wanted);
    case 'ensure-divert':
      return ensureNode({ ...wanted, divert: true });
    case 'remove-divert':
      return removeNode({ ...wanted, divert: true }, [{ kind: 'set-nonlocal-bind6', on: true }]);
    case 'remove':
      return removeNode(wanted, [{ kind: 'set-nonlocal-bind6', on: true }]);
    case 'read':
      return readNode(pool);
    case 'check': {
      const listeners = addresses.map((address) => ({ address, port: 80 }));
      const failures = await checkListeners(listeners, { ownListeners: new Set() });
      return listeners.map((each) => failures.get(listenerKey(each.address, each.port)) ?? 'free');
    }
    default:
      throw new Error(`unknown command ${command}`);
  }
}

const result = await answer().catch((error: unknown) => {
  if (!(error instanceof CodedError)) throw error;
  return { failed: error.code, remedy: error.remedy };
});
process.stdout.write(JSON.stringify(result));
