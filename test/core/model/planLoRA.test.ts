import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  getAdapter,
  type LoRAConfig,
  LoRAError,
  type LoRAPlan,
  planLoRA,
  replaceHead,
  summarizeLoRA,
} from '../../../src/index';
import {withoutLeaks} from '../../helpers';
import {baseWeights, cnn, mlp, nested, predictions, reloaded, stirFactors, ZOO} from '../../models';
beforeEach(() => {
  jest.spyOn(console, 'warn').mockImplementation();
});

function rolesOf({layers}: LoRAPlan): Record<string, string> {
  return Object.fromEntries(layers.map(({path, role}) => [path, role]));
}

describe('a plan', () => {
  test('says what becomes of each layer that has weights, with what numbers, and why', () => {
    const plan = planLoRA(cnn().model, {
      rank: 4,
      alpha: 8,
      targets: ['Conv2D', /^he/],
      overrides: [{targets: ['head'], rank: 5}],
      bias: 'all',
    });
    expect(plan.layers).toEqual([
      {
        path: 'conv',
        className: 'Conv2D',
        role: 'adapted',
        reason: 'target "Conv2D"',
        rank: 4,
        alpha: 8,
        scaling: 2,
        // A: 3·3·2·4, B: 4·4, and 4 biases.
        trainableParameters: 72 + 16 + 4,
      },
      {path: 'norm', className: 'BatchNormalization', role: 'bias', reason: "bias: 'all'", trainableParameters: 4},
      {
        path: 'head',
        className: 'Dense',
        role: 'adapted',
        reason: 'target /^he/, override "head"',
        // 16 → 3 holds rank 3; alpha 8 of rank 5 is 4.8 of rank 3.
        rank: 3,
        cappedFrom: 5,
        alpha: expect.closeTo(4.8) as number,
        scaling: expect.closeTo(1.6) as number,
        trainableParameters: 48 + 9 + 3,
      },
    ]);
    // conv 72 + 4, norm 4 · 4, head 48 + 3, and the factors.
    expect(plan).toMatchObject({
      faults: [],
      unmatched: [],
      trainableParameters: 92 + 4 + 60,
      totalParameters: 76 + 16 + 51 + 88 + 57,
    });
  });

  test('is printed as a table', () => {
    const lines = String(planLoRA(cnn().model, {rank: 2, exclude: ['conv'], trainInFull: ['norm']})).split('\n');
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/^layer +class +role +rank +alpha +trainable +why$/);
    expect(lines[1]).toMatch(/^conv +Conv2D +skipped +exclude "conv"$/);
    expect(lines[2]).toMatch(/^norm +BatchNormalization +trained +8 +trainInFull "norm"$/);
    expect(lines[3]).toMatch(/^head +Dense +adapted +2 +2 +38 +targets: 'all'$/);
    expect(lines[4]).toBe('trainable params: 46 || all params: 181 || trainable%: 25.4144');
  });

  test('shows the requested rank and the one that the kernel can hold', () => {
    expect(String(planLoRA(mlp().model, {rank: 4}))).toMatch(/^head +Dense +adapted +1 \(not 4\) +1 +9 /m);
  });

  test.each<[what: string, config: LoRAConfig, path: string, role: string, reason: string]>([
    ['is not named', {targets: ['head']}, 'conv', 'skipped', 'It is not among the targets.'],
    ['is excluded by a pattern', {exclude: [/c.nv/]}, 'conv', 'skipped', 'exclude /c.nv/'],
    ['has no kernel', {}, 'norm', 'frozen', 'It has no kernel.'],
    ['trains in full', {trainInFull: [/head/]}, 'head', 'trained', 'trainInFull /head/'],
  ])('says of a layer why it %s', (_, config, path, role, reason) => {
    const {layers} = planLoRA(cnn().model, {rank: 2, ...config} as LoRAConfig);
    expect(layers.find(layer => layer.path === path)).toMatchObject({role, reason});
  });

  test("says why 'all' leaves a layer, as applyLoRA and the summary do", () => {
    const model = tf.sequential({
      layers: [
        tf.layers.depthwiseConv2d({kernelSize: 2, name: 'depthwise', inputShape: [4, 4, 2]}),
        tf.layers.conv2d({filters: 2, kernelSize: 1, name: 'conv'}),
      ],
    });
    const [depthwise] = planLoRA(model).layers;
    const [skipped] = summarizeLoRA(applyLoRA(model)).skipped;
    expect(depthwise).toMatchObject({role: 'skipped', reason: skipped!.reason});
  });

  test('knows a new head', () => {
    const model = replaceHead(mlp().model, [tf.layers.dense({units: 2, name: 'classes'})]);
    expect(planLoRA(model).layers.find(({path}) => path === 'classes')).toMatchObject({
      role: 'trained',
      reason: 'new head',
      trainableParameters: 14,
    });
  });

  const configs: [string, LoRAConfig][] = [
    ['by default', {}],
    ['of a low rank', {rank: 1, bias: 'adapted'}],
    ['with all biases', {rank: 2, bias: 'all'}],
    ['with bases that train', {rank: 2, freezeBaseLayer: false}],
    ['with a layer that trains in full', {rank: 2, trainInFull: [({weights}) => weights.length > 3]}],
  ];
  describe.each(ZOO)('of %s', (_, make) => {
    test.each(configs)('%s counts what the summary counts, makes no tensor and changes nothing', async (__, config) => {
      const {model} = make();
      const isOne = planLoRA(model, config).faults.length === 0;
      const used = isOne ? config : {};
      if (model.layers.length % 2 === 0) {
        model.trainable = false; // what is frozen in the original is counted all the same
      }
      const flags = model.weights.map(({trainable}) => trainable);
      const before = baseWeights(model);
      let plan: LoRAPlan | undefined;
      await withoutLeaks(() => {
        plan = planLoRA(model, used);
      });
      expect(baseWeights(model)).toEqual(before);
      expect(model.weights.map(({trainable}) => trainable)).toEqual(flags);
      const summary = summarizeLoRA(applyLoRA(model, used));
      expect(plan).toMatchObject({
        trainableParameters: summary.trainableParameters,
        totalParameters: summary.totalParameters,
      });
      const pathsOf = (role: string) => plan!.layers.filter(layer => layer.role === role).map(({path}) => path);
      expect(pathsOf('adapted')).toEqual([...new Set(summary.layers.map(({path}) => path))]);
      expect(pathsOf('trained')).toEqual(summary.trainable);
      expect(pathsOf('bias')).toEqual(summary.biases);
      expect(pathsOf('skipped')).toEqual(summary.skipped.map(({path}) => path));
    });
  });
});

describe('what is wrong with a config', () => {
  test('is planned, with the closest names to entries that match nothing', () => {
    const plan = planLoRA(nested().model, {
      targets: ['frist', 'body/secnd', 'Dnse', /^fisrt\d/, 'head'],
      exclude: ['qqqqqqqq'],
      trainInFull: [layer => layer.name === 'nobody'],
      overrides: [{targets: ['Hed'], rank: 1}],
    });
    expect(plan.unmatched).toEqual([
      {option: 'targets', entry: 'frist', closest: ['first']},
      {option: 'targets', entry: 'body/secnd', closest: ['body/second']},
      {option: 'targets', entry: 'Dnse', closest: ['Dense']},
      {option: 'targets', entry: /^fisrt\d/, closest: ['first']},
      {option: 'exclude', entry: 'qqqqqqqq', closest: []},
      {option: 'trainInFull', entry: expect.any(Function) as unknown, closest: []},
      {option: 'overrides', entry: 'Hed', closest: ['head']},
    ]);
    expect(plan.faults).toHaveLength(7);
    expect(plan.faults[0]).toBe('No layer matches target "frist". Closest: first.');
    expect(rolesOf(plan)).toEqual({'body/first': 'skipped', 'body/second': 'skipped', head: 'adapted'});
    const text = String(plan);
    expect(text).toContain('applyLoRA refuses this:\n  No layer matches target "frist". Closest: first.\n');
    expect(text).not.toContain('trainable params');
  });

  test.each<[string, unknown]>([
    ['a target that names nothing', {targets: ['dens']}],
    ['several that name nothing', {targets: ['one'], exclude: ['two'], overrides: [{targets: [/x/], rank: 1}]}],
    ['a target that cannot be adapted', {targets: ['pool', 'head']}],
    ['something without weights to train', {trainInFull: ['flat']}],
    ['the exclusion of everything', {exclude: [() => true]}],
    ['options that do not exist, numbers out of range', {ranks: 4, rank: 0, seed: 0.5}],
    ['an initializer that does not exist', {init: 'nothing'}],
    ['an invalid config', null],
    ['a predicate that throws', {targets: [() => JSON.parse('{') as boolean]}],
    ['a predicate that answers something else', {targets: [() => 1 as unknown as boolean]}],
    ['a predicate that is asynchronous', {targets: [async () => Promise.resolve(true)]}],
    ['nothing', {rank: 2}],
  ])('is just what applyLoRA refuses: %s', (_, config) => {
    const {model} = cnn();
    const {faults} = planLoRA(model, config as LoRAConfig);
    let message = '';
    try {
      applyLoRA(model, config as LoRAConfig);
    } catch (error) {
      expect(error).toBeInstanceOf(LoRAError);
      ({message} = error as Error);
    }
    // The layers of the model follow, a line each.
    const [found, expected] = [message, faults.join('\n')].map(text =>
      text.split('\n').filter(line => line !== '' && !/^The model has |^ {2}\w+ \(/.test(line)),
    );
    expect(found).toEqual(expected);
  });

  test('throws if the model is not a model, or already adapted', () => {
    const {model} = mlp();
    expect(() => planLoRA('model' as unknown as tf.LayersModel)).toThrow(LoRAError);
    expect(() => planLoRA(applyLoRA(model))).toThrow('adapted already');
    expect(() => planLoRA(tf.sequential())).toThrow('not built');
  });

  test('has a bounded message, however large the model is', () => {
    const layers = Array.from({length: 200}, (_, i) => tf.layers.dense({units: 1, inputShape: [1], name: `a_${i}`}));
    const model = tf.sequential({layers});
    expect(() => applyLoRA(model, {targets: ['none of these']})).toThrow(
      /\.\nThe model has 200 layers, such as:(\n {2}a_\d \(Dense\)){5}$/,
    );
  });
});

describe('predicates', () => {
  const small: LoRAConfig = {rank: 1};

  test.each<[what: string, config: LoRAConfig, roles: Record<string, string>]>([
    [
      'targets',
      {targets: [({name}) => name === 'first']},
      {'body/first': 'adapted', 'body/second': 'skipped', head: 'skipped'},
    ],
    [
      'targets, by themselves',
      {targets: (_, path) => path.startsWith('body/')},
      {'body/first': 'adapted', 'body/second': 'adapted', head: 'skipped'},
    ],
    [
      'targets, beside names',
      {targets: ['head', (_, path) => path.endsWith('second')]},
      {'body/first': 'skipped', 'body/second': 'adapted', head: 'adapted'},
    ],
    [
      'exclude',
      {exclude: layer => (layer.outputShape as number[])[1] === 4},
      {'body/first': 'adapted', 'body/second': 'skipped', head: 'adapted'},
    ],
    [
      'trainInFull',
      {trainInFull: ({name}) => name === 'head'},
      {'body/first': 'adapted', 'body/second': 'adapted', head: 'trained'},
    ],
  ])('are taken in %s', (_, config, roles) => {
    const {model} = nested();
    expect(rolesOf(planLoRA(model, {...small, ...config} as LoRAConfig))).toEqual(roles);
    const summary = summarizeLoRA(applyLoRA(model, {...small, ...config} as LoRAConfig));
    const adapted = Object.keys(roles).filter(path => roles[path] === 'adapted');
    expect(summary.layers.map(({path}) => path)).toEqual(adapted);
  });

  test('are taken in overrides, and the first entry that matches counts', () => {
    const {layers} = planLoRA(nested().model, {
      rank: 3,
      overrides: [
        {targets: ({name}) => name.startsWith('f'), rank: 1},
        {targets: [(_, path) => path.includes('/')], rank: 2},
      ],
    });
    expect(layers.map(({rank}) => rank)).toEqual([1, 2, 3]);
  });

  test('are asked once for each layer, about the layer of the plain model and its path', () => {
    const {model} = nested();
    const predicate = jest.fn<boolean, [tf.layers.Layer, string]>(() => true);
    applyLoRA(model, {rank: 1, targets: predicate});
    const body = model.getLayer('body') as tf.Sequential;
    expect(predicate.mock.calls).toEqual([
      [model.getLayer('in'), 'in'],
      [body.getLayer('first'), 'body/first'],
      [body.getLayer('second'), 'body/second'],
      [model.getLayer('head'), 'head'],
    ]);
  });

  test('leave their answers in the adapter, which is saved and applied without them', async () => {
    const {model, inputs} = nested();
    const adapted = applyLoRA(model, {
      rank: 2,
      targets: (_, path) => path !== 'body/second',
      overrides: [{targets: ({name}) => name === 'head', rank: 1}],
    });
    stirFactors(adapted);
    const {config} = getAdapter(adapted);
    expect(JSON.parse(JSON.stringify(config))).toEqual(config);
    expect(Object.entries(config.layers).map(([path, {rank}]) => [path, rank])).toEqual([
      ['body/first', 2],
      ['head', 1],
    ]);
    const expected = predictions(adapted, inputs);
    expect(predictions(applyLoRA(model, getAdapter(adapted)), inputs)).toEqual(expected);
    expect(predictions(await reloaded(adapted), inputs)).toEqual(expected);
  });

  test('that fail are told with the layer that they failed on', () => {
    const {model} = mlp();
    const fail = (layer: tf.layers.Layer) => {
      if (layer.name === 'head') {
        throw new Error('mine');
      }
      return true;
    };
    expect(() => applyLoRA(model, {targets: fail})).toThrow(LoRAError);
    expect(() => applyLoRA(model, {targets: fail})).toThrow(/^The target .* threw "mine" for layer "head"\.$/);
    expect(() => applyLoRA(model, {exclude: () => undefined as unknown as boolean})).toThrow(
      'must return true or false, got undefined for layer "hidden".',
    );
  });
});
