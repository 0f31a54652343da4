import {createHash} from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import {
  createNodeKey,
  type Federation,
  joinFederation,
  type JoinFederationOptions,
  type RoundReport,
} from '../../../src/federated';
import {publicKeyPEM} from '../../../src/extensions/federated/nodeKey';
import {applyLoRA, getAdapter, LoRAError, type MethodName} from '../../../src/index';
import {withoutLeaks} from '../../helpers';
import {
  type Fault,
  flowerTask,
  objectOf,
  type Pushed,
  roundFile,
  type RoundFile,
  SuperLink,
  type Task,
  typeOf,
} from './superLink';

const file = roundFile();
let server: SuperLink;
afterEach(async () => {
  await server.stop();
});

/** A model whose adapter has the tensors of the fixture. */
function adapted(method?: MethodName): tf.LayersModel {
  const base = tf.sequential({layers: [tf.layers.dense({inputShape: [3], units: 4, name: 'd'})]});
  return applyLoRA(base, {rank: 2, ...(method && {method})});
}

/** Doubles what trains. */
function double(model: tf.LayersModel) {
  for (const weight of model.trainableWeights) {
    tf.tidy(() => void weight.write(tf.mul(weight.read(), 2)));
  }
  return {examples: 12, metrics: {loss: 0.5, each: [0.25, -1.5], counts: [3, -4]}};
}

async function begin(tasks: Task[]): Promise<string> {
  server = new SuperLink(tasks);
  return server.start();
}

async function joined(options: Partial<JoinFederationOptions> = {}, tasks = [flowerTask(file)]) {
  const url = await begin(tasks);
  return joinFederation({url, model: adapted(), train: double, ...options});
}

function adapterOf(model: tf.LayersModel): Record<string, number[]> {
  const adapter = getAdapter(model);
  const values = Object.entries(adapter.tensors).map(
    ([name, tensor]) => [name, Array.from(tensor.dataSync())] as const,
  );
  adapter.dispose();
  return Object.fromEntries(values);
}

/** A task like that of the fixture, with other objects in it: names are made anew from the inside out. */
function changedTask(change: (type: string, body: Buffer) => Buffer | undefined, messageType?: string): Task {
  const {pulled} = flowerTask(file);
  const message = objectOf('PullMessagesResponse', pulled);
  const objects = new Map<string, Uint8Array>();
  interface Tree {
    object_id: string;
    children: Tree[];
  }
  const rename = ({object_id: former, children}: Tree): Tree => {
    const inside = children.map(rename);
    let whole = Buffer.from(file.objects[former]!, 'base64');
    children.forEach((child, i) => {
      // The names have 64 characters, the old and the new ones.
      whole = Buffer.from(whole.toString('latin1').replaceAll(child.object_id, inside[i]!.object_id), 'latin1');
    });
    const end = whole.indexOf(0);
    const [type = '', ids = ''] = whole.subarray(0, end).toString().split(' ');
    const body = change(type, whole.subarray(end + 1)) ?? whole.subarray(end + 1);
    whole = Buffer.concat([Buffer.from(`${type} ${ids} ${body.length}\0`), body]);
    const name = createHash('sha256').update(whole).digest('hex');
    objects.set(name, whole);
    return {object_id: name, children: inside};
  };
  const trees = (message.message_object_trees as Tree[]).map(rename);
  const messages = message.messages_list as {metadata: {message_type: string}; content: unknown}[];
  if (messageType !== undefined) {
    messages[0]!.metadata.message_type = messageType;
  }
  const type = typeOf('PullMessagesResponse');
  const response = type.fromObject({
    messages_list: messages.map(({metadata}) => ({metadata})),
    message_object_trees: trees,
  });
  return {pulled: type.encode(response).finish(), objects};
}

/** That of the fixture with one more value in the server's config. */
function withConfig(key: string, value: object): Task {
  return changedTask((type, body) => {
    if (type !== 'ConfigRecord') {
      return undefined;
    }
    const record = typeOf('ConfigRecord');
    const {items} = objectOf('ConfigRecord', body) as {items: unknown[]};
    return Buffer.from(record.encode(record.fromObject({items: [...items, {key, value}]})).finish());
  });
}

/** The objects of a reply by their types. */
function bodiesOf({objects}: Pushed, type: string): Map<string, Buffer> {
  return new Map(
    [...objects].flatMap(([name, content]) => {
      const end = content.indexOf(0);
      return Buffer.from(content.subarray(0, end)).toString().startsWith(`${type} `)
        ? [[name, Buffer.from(content.subarray(end + 1))] as const]
        : [];
    }),
  );
}

describe('a round that Flower wrote', () => {
  test('trains on what the server sent, and gives back what Flower would', async () => {
    const model = adapted();
    const rounds: unknown[] = [];
    const reports: RoundReport[] = [];
    const {finished} = await joined({
      model,
      train: (trained, {round, config}) => {
        expect(adapterOf(trained)).toEqual(valuesOf(file.arrays));
        rounds.push({round, config});
        return double(trained);
      },
      onRound: report => reports.push(report),
    });
    const summary = await finished;
    const config = {
      'server-round': 3,
      lr: 0.01,
      isLast: true,
      name: 'größer',
      places: [1, -2, 3],
      of: Buffer.from([1, 2]),
    };
    expect(rounds).toEqual([{round: 3, config}]);
    expect(summary.rounds).toBe(1);
    expect(reports).toMatchObject([{kind: 'train', round: 3, examples: 12, metrics: {loss: 0.5}}]);
    expect(reports[0]!.bytesSent).toBeLessThanOrEqual(summary.bytesSent);

    const [pushed] = server.pushed;
    expect(pushed!.metadata).toMatchObject({
      run_id: String(2n ** 64n - 3n),
      src_node_id: String(2n ** 63n + 5n),
      dst_node_id: '1',
      dst_task_id: '7',
      message_type: 'train',
      group_id: '3',
    });
    // The numbers themselves, and the metrics, are the bytes that Flower writes for the same values.
    expect([...bodiesOf(pushed!, 'ArrayChunk').keys()].sort()).toEqual(Object.values(file.reply.chunks).sort());
    expect([...bodiesOf(pushed!, 'MetricRecord').values()].map(readMetrics)).toEqual([file.reply.metrics]);
    const [refs] = bodiesOf(pushed!, 'ArrayRecord').values();
    const arrays = bodiesOf(pushed!, 'Array');
    const said = Object.entries(JSON.parse(refs!.toString()) as Record<string, string>).map(([name, id]) => [
      name,
      JSON.parse(arrays.get(id)!.toString()) as unknown,
    ]);
    const array = (shape: number[]) => ({dtype: 'float32', shape, stype: 'numpy.ndarray', arraychunk_ids: [0]});
    expect(Object.fromEntries(said)).toEqual({'d/lora_A': array([3, 2]), 'd/lora_B': array([2, 4])});
    const [records] = bodiesOf(pushed!, 'RecordDict').values();
    expect(Object.keys(JSON.parse(records!.toString()) as object)).toEqual(['arrays', 'metrics']);
  });

  test('of evaluation sets the common adapter, and gives metrics alone', async () => {
    const model = adapted();
    const evaluate = () => ({examples: 5, metrics: {accuracy: 0.75}});
    const {finished} = await joined({model, evaluate}, [changedTask(() => undefined, 'evaluate')]);
    expect((await finished).rounds).toBe(0);
    expect(adapterOf(model)).toEqual(valuesOf(file.arrays));
    expect(bodiesOf(server.pushed[0]!, 'ArrayRecord').size).toBe(0);
    const metrics = [...bodiesOf(server.pushed[0]!, 'MetricRecord').values()].map(readMetrics);
    expect(metrics).toEqual([{accuracy: 0.75, 'num-examples': 5}]);
  });

  test('of evaluation sets the common adapter where there is no evaluate, and says so', async () => {
    const model = adapted();
    const {finished} = await joined({model}, [changedTask(() => undefined, 'evaluate')]);
    server.isRunning = false;
    await finished;
    expect(adapterOf(model)).toEqual(valuesOf(file.arrays));
    expect(server.pushed[0]!.error).toEqual({code: '6', reason: 'This node does not evaluate.'});
  });

  test('gives tensors back in the order in which they came', async () => {
    const names = Object.keys(file.arrays).reverse();
    const reversed = changedTask((type, body) => {
      const ids = type === 'ArrayRecord' ? (JSON.parse(String(body)) as Record<string, string>) : undefined;
      return ids && Buffer.from(JSON.stringify(Object.fromEntries(names.map(name => [name, ids[name]]))));
    });
    const {finished} = await joined({}, [reversed]);
    await finished;
    const [refs] = bodiesOf(server.pushed[0]!, 'ArrayRecord').values();
    expect(Object.keys(JSON.parse(refs!.toString()) as object)).toEqual(names);
  });

  test('lets only what trains travel', async () => {
    const {finished} = await joined({model: adapted('lora-fa')});
    await finished;
    const [refs] = bodiesOf(server.pushed[0]!, 'ArrayRecord').values();
    expect(Object.keys(JSON.parse(refs!.toString()) as object)).toEqual(['d/lora_B']);
  });
});

/** Lets pauses pass a hundred times as fast. */
function withoutPauses(): void {
  const wait = setTimeout;
  jest.spyOn(globalThis, 'setTimeout').mockImplementation((f: () => void, time = 0) => wait(f, time / 100));
}

describe('a server that fails', () => {
  test('may hang up and be busy: the calls are repeated', async () => {
    const states: string[] = [];
    const run = await joined({onState: state => states.push(state)});
    server.faults.push({path: 'pull-messages', hangUp: true}, {path: 'push-object', status: 503});
    expect((await run.finished).rounds).toBe(1);
    expect(states).toContain('reconnecting');
    expect(server.pushed).toHaveLength(1);
  });

  test.each([0, 1, 5])(
    'may break off in the body of every answer, behind %d bytes: the calls are repeated',
    async cutAt => {
      withoutPauses();
      const model = adapted();
      const run = await joined({model});
      const paths = [
        'pull-messages',
        'pull-object',
        'pull-object',
        'push-messages',
        'push-object',
        'push-object',
        'get-run',
      ];
      // An answer without a body cannot be cut.
      server.faults.push(...paths.map(path => ({path, cutAt})), ...paths.map(path => ({path, cutAt: 2 * cutAt})));
      expect((await run.finished).rounds).toBe(1);
      expect(server.faults).toEqual([]);
      const doubled = Object.values(file.arrays).map(({values}) => values.map(value => 2 * value));
      expect(Object.values(adapterOf(model))).toEqual(doubled);
      expect([...bodiesOf(server.pushed.at(-1)!, 'ArrayChunk').keys()].sort()).toEqual(
        Object.values(file.reply.chunks).sort(),
      );
    },
  );

  test('may refuse with a body that never ends: no more than its beginning is read', async () => {
    withoutPauses();
    const run = await joined();
    server.faults.push(
      {path: 'get-run', status: 503, isEndless: true},
      {path: 'get-run', status: 403, isEndless: true},
    );
    await expect(run.finished).rejects.toThrow('The SuperLink refused getRun (403)');
    while (!server.isLeft) {
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    expect(await run.finished.catch((error: unknown) => (error as Error).message)).toMatch(/^.{1,700}$/s);
  });

  test('may refuse at length: its code counts all the same', async () => {
    const run = await joined();
    const body = JSON.stringify({message: 'x'.repeat(5000), code: 2007});
    server.faults.push({path: 'get-run', status: 403, body});
    expect((await run.finished).rounds).toBe(1);
  });

  test.each<[string, Fault]>([
    ['is gone', {hangUp: true}],
    ['is silent', {isSilent: true}],
    ['answers 500', {status: 500}],
    ['answers 500 without end', {status: 500, isEndless: true}],
  ])('lets a node leave: it %s', async (_, fault) => {
    withoutPauses();
    for (const place of ['register-node', 'pull-messages']) {
      const url = await begin([]);
      const isThere = new Promise<void>(resolve => {
        server.faults.push({path: place, stays: true, ...fault});
        server.onCall = path => path === place && resolve();
      });
      const run = joinFederation({url, model: adapted(), train: double});
      await isThere;
      // A server that is not there when the node arrives was told at once, before.
      const left = await run.leave().catch((error: unknown) => (error as Error).message);
      const isRefused = place === 'register-node' && fault.isSilent !== true;
      expect(left).toEqual(isRefused ? expect.any(String) : expect.objectContaining({rounds: 0}));
      await server.stop();
    }
    await begin([]);
  });

  test.each<[string, Fault]>([
    ['is gone', {hangUp: true}],
    ['is silent', {isSilent: true}],
  ])('loses the last reply of a node that leaves, and it is told: it %s', async (_, fault) => {
    withoutPauses();
    const model = adapted();
    const run: Federation = await joined({
      model,
      train: trained => {
        server.faults.push({path: 'push-object', stays: true, ...fault});
        void run.leave().catch(() => undefined);
        return double(trained);
      },
    });
    await expect(run.finished).rejects.toThrow('The node has left, and its last reply is lost: the server has not');
    await expect(run.finished).rejects.toBeInstanceOf(LoRAError);
    // What was learned is not lost.
    const doubled = Object.values(file.arrays).map(({values}) => values.map(value => 2 * value));
    expect(Object.values(adapterOf(model))).toEqual(doubled);
  });

  test('may forget its nodes: they present themselves again, under their key', async () => {
    const run = await joined({
      train: model => {
        server.nodes.clear();
        return double(model);
      },
    });
    expect((await run.finished).rounds).toBe(1);
    expect(server.calls.filter(call => call === 'register-node')).toHaveLength(2);
  });

  test('may know the node from before', async () => {
    const key = await createNodeKey();
    const run = await joined({key});
    await run.finished;
    expect(server.calls).not.toContain('unregister-node');
    server.tasks.push(flowerTask(file));
    server.isRunning = true;
    // The server takes it for there, until it has missed two signs of life.
    server.faults.push({path: 'activate-node', status: 412, body: '{"code": 2004}'});
    const url = `http://127.0.0.1:${server.port}`;
    await joinFederation({url, key, model: adapted(), train: double}).finished;
    expect(server.nodes.size).toBe(1);
    expect(server.pushed).toHaveLength(2);
    // It may have been killed in the middle of a message: the server has to see that it was gone.
    const arrival = server.calls.slice(server.calls.lastIndexOf('register-node'));
    expect(arrival.slice(0, 7)).toEqual([
      'register-node',
      'activate-node',
      'activate-node', // is it known at all?
      'activate-node',
      'deactivate-node',
      'activate-node',
      'pull-messages',
    ]);
  });

  test('may admit those alone whose keys were registered', async () => {
    const key = await createNodeKey();
    const url = await begin([flowerTask(file)]);
    server.isClosed = true;
    const stranger = joinFederation({url, key, model: adapted(), train: double});
    await expect(stranger.finished).rejects.toThrow(
      /does not know the key of this node.*nodeKeyText\(key, 'public'\)/s,
    );
    await expect(stranger.finished).rejects.toBeInstanceOf(LoRAError);
    server.nodes.set(await publicKeyPEM(key), '5');
    expect((await joinFederation({url, key, model: adapted(), train: double}).finished).rounds).toBe(1);
  });

  test('may end the run during a round', async () => {
    const run = await joined({
      train: model => {
        server.faults.push({path: 'push-messages', status: 403, body: '{"code": 2007}'});
        server.isRunning = false;
        return double(model);
      },
    });
    await expect(run.finished).resolves.toMatchObject({rounds: 1});
    expect(server.pushed).toHaveLength(0);
  });

  test.each([
    ['nobody answers', {hangUp: true}, /cannot be reached/],
    ['it is another server', {status: 404}, /not the Fleet API of Flower over HTTP.*1\.42/s],
    ['it refuses the node', {status: 401, body: '{"detail": "Invalid SuperNode authentication"}'}, /refused.*401/s],
  ])('is said when the node arrives: %s', async (_, fault, message) => {
    const url = await begin([]);
    server.faults.push(fault);
    const {finished} = joinFederation({url, model: adapted(), train: double});
    await expect(finished).rejects.toThrow(message);
    await expect(finished).rejects.toBeInstanceOf(LoRAError);
  });
});

describe('what does not fit', () => {
  const npyOf = (header: string, values: number[]) =>
    Buffer.concat([
      Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, 0x76, 0]),
      Buffer.from(header.padEnd(117) + '\n'),
      Buffer.from(new Float32Array(values).buffer),
    ]);
  const chunks = (bytes: (body: Buffer) => Buffer) =>
    changedTask((type, body) => (type === 'ArrayChunk' ? bytes(body) : undefined));

  test.each<[string, () => Task, RegExp]>([
    [
      'names of another model',
      () =>
        changedTask((type, body) =>
          type === 'ArrayRecord' ? Buffer.from(String(body).replace('d/', 'e/')) : undefined,
        ),
      /did not send "d\/lora_A".*sent "e\/lora_A", which this adapter does not have/s,
    ],
    [
      'numbers that are not finite',
      () => chunks(body => Buffer.concat([body.subarray(0, body.length - 4), Buffer.from([0, 0, 0xc0, 0x7f])])),
      /not finite/,
    ],
    [
      'another shape',
      () => chunks(() => npyOf("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", [1, 2])),
      /shape \[3, 2\].*\[2\]/s,
    ],
    [
      'whole numbers',
      () => chunks(() => npyOf("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", [1, 2])),
      /floats of 32 or 64/,
    ],
    ['fewer numbers than the shape says', () => chunks(body => body.subarray(0, -4)), /came with/],
    [
      'an array in pickle',
      () =>
        changedTask((type, body) =>
          type === 'Array' ? Buffer.from(String(body).replace('numpy.ndarray', 'pickle')) : undefined,
        ),
      /numpy\.ndarray/,
    ],
    [
      'secure aggregation',
      () =>
        changedTask((type, body) =>
          type === 'RecordDict' ? Buffer.from(String(body).replace('config', 'secaggplus')) : undefined,
        ),
      /SecAgg/,
    ],
    [
      'an array whose name objects have already',
      () =>
        changedTask((type, body) =>
          type === 'ArrayRecord'
            ? Buffer.from(String(body).replace(/"d\/lora_A": ("\w+")/, '"__proto__": $1, $&'))
            : undefined,
        ),
      /sent "__proto__", which this adapter does not have/,
    ],
    ['clipping by the nodes', () => withConfig('clipping_norm', {double: 1}), /clips on the server/],
    ['another kind of message', () => changedTask(() => undefined, 'query'), /requests "query"/],
    [
      'an object that was changed',
      () => {
        const {pulled, objects} = flowerTask(file);
        return {
          pulled,
          objects: new Map([...objects].map(([name, bytes]) => [name, Buffer.concat([bytes, Buffer.from([0])])])),
        };
      },
      /changed in transit/,
    ],
    ['far too many bytes', () => chunks(body => Buffer.concat([body, Buffer.alloc(100_000)])), /more than .* bytes/],
    ['an object that is not there', () => ({...flowerTask(file), objects: new Map()}), /does not have/],
  ])('is refused, and changes nothing: %s', async (_, task, message) => {
    const model = adapted();
    const before = adapterOf(model);
    const train = jest.fn(double);
    const {finished} = await joined({model, train}, [task()]);
    await expect(finished).rejects.toThrow(message);
    await expect(finished).rejects.toBeInstanceOf(LoRAError);
    expect(train).not.toHaveBeenCalled();
    expect(adapterOf(model)).toEqual(before);
  });

  test('other frozen tensors than those of the other nodes are refused', async () => {
    const withFrozen = (text: string) => withConfig('frozen', {string: text});
    const A = new Float32Array(file.arrays['d/lora_A']!.values);
    const fingerprint = createHash('sha256').update(new Uint8Array(A.buffer)).digest('hex');
    const run = await joined({model: adapted('lora-fa')}, [withFrozen(fingerprint)]);
    expect((await run.finished).rounds).toBe(1);
    await server.stop();
    const refused = await joined({model: adapted('lora-fa')}, [withFrozen('0'.repeat(64))]);
    await expect(refused.finished).rejects.toThrow(/Start all nodes from one adapter file/);
  });
});

describe('the work of the user', () => {
  test('that fails is reported to the server, undone, and thrown', async () => {
    const model = adapted();
    const before = adapterOf(model);
    const fault = new RangeError('my data is gone');
    const {finished} = await joined({
      model,
      train: trained => {
        double(trained);
        throw fault;
      },
    });
    await expect(finished).rejects.toThrow('my data is gone');
    await expect(finished).rejects.toHaveProperty('cause', fault);
    expect(server.pushed[0]!.error).toEqual({code: '2', reason: 'my data is gone'});
    expect(adapterOf(model)).toEqual(before);
  });

  test('that diverges is not sent', async () => {
    const {finished} = await joined({
      train: model => {
        model.trainableWeights[0]!.write(tf.fill([3, 2], NaN));
        return {examples: 1};
      },
    });
    await expect(finished).rejects.toThrow(/d\/lora_A is not finite/);
    expect(server.pushed[0]!.error?.reason).toContain('not finite');
  });

  test.each([[{}], [{examples: -1}], [{examples: 1, metrics: {loss: NaN}}], [undefined]])(
    'that returns %j is refused',
    async outcome => {
      const {finished} = await joined({train: () => outcome as never});
      await expect(finished).rejects.toThrow(/must return \{examples, metrics\}/);
    },
  );

  test('ends when its signal is aborted, with the adapter from before the round', async () => {
    const controller = new AbortController();
    const model = adapted();
    const before = adapterOf(model);
    const {finished} = await joined({
      model,
      signal: controller.signal,
      train: async trained => {
        double(trained);
        controller.abort(new Error('the tab is closed'));
        return Promise.resolve({examples: 1});
      },
    });
    await expect(finished).rejects.toMatchObject({code: 'ERR_ABORTED', cause: new Error('the tab is closed')});
    expect(adapterOf(model)).toEqual(before);
    expect(server.calls).toContain('deactivate-node');
  });

  test.each(['connecting', 'waiting', 'training', 'over'] as const)(
    'leaves nothing behind if aborted while %s',
    async at => {
      const model = adapted();
      await withoutLeaks(async () => {
        const controller = new AbortController();
        const onState = (state: string) => {
          if (state === at) {
            controller.abort();
          }
        };
        const before = adapterOf(model);
        const url = await begin([flowerTask(file)]);
        const {signal} = controller;
        const {finished} = joinFederation({url, model, signal, onState, train: () => ({examples: 1})});
        const outcome = await finished.catch((error: unknown) => error);
        if (at !== 'over') {
          expect(outcome).toMatchObject({code: 'ERR_ABORTED'});
          expect(adapterOf(model)).toEqual(before);
        }
      });
    },
  );

  test('goes on to the end of the round when the node leaves', async () => {
    const run = await joined({
      train: model => {
        void run.leave();
        return double(model);
      },
    });
    expect((await run.finished).rounds).toBe(1);
    expect(server.pushed).toHaveLength(1);
    // What it pushed would be lost if it were forgotten before the server has taken it.
    expect(server.calls).not.toContain('unregister-node');
  });

  test('leaves no tensors', async () => {
    const model = adapted();
    const {finished} = await joined({model});
    const {numTensors} = tf.memory();
    await finished;
    expect(tf.memory().numTensors).toBe(numTensors);
  });
});

function valuesOf(arrays: RoundFile['arrays']): Record<string, number[]> {
  return Object.fromEntries(Object.entries(arrays).map(([name, {values}]) => [name, values]));
}

function readMetrics(body: Buffer): Record<string, unknown> {
  const {items} = objectOf('MetricRecord', body) as {items: {key: string; value: Record<string, unknown>}[]};
  const type = typeOf('MetricRecordValue');
  return Object.fromEntries(
    items.map(({key}, i) => {
      const record = typeOf('MetricRecord').decode(body) as unknown as {items: {value: object}[]};
      const value = type.toObject(record.items[i]!.value as never, {longs: Number}) as Record<string, unknown>;
      const [given] = Object.values(value);
      return [key, typeof given === 'object' ? (given as {vals: unknown}).vals : given];
    }),
  );
}
