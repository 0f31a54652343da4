import {textsUnder} from '../docs/pages';
import {describeInBrowser} from '../examples/site';
import {BundledSite, VITE_CONFIG} from './bundledSite';

jest.setTimeout(240_000);

// The worker of docs/react.md, in a project that has the packed library.

const PAGE = 'docs/react.md';
const [WORKER = ''] = textsUnder(PAGE, 'The worker', 'js');
const [CLIENT = ''] = textsUnder(PAGE, "The page's side", 'js');

/** Trains, and then once more, when the first epoch ends the training. */
const MAIN = `
import {loadAdapter} from 'tfjs-lora';
import {train} from './train.js';

async function main() {
  const progress = [];
  const onEpoch = ({at, epoch, logs}) => at === 'epoch' && progress.push({epoch, loss: logs.loss});
  const bytes = await train({epochs: 3, signal: new AbortController().signal, onProgress: onEpoch});
  const {tensors} = await loadAdapter(bytes);

  const controller = new AbortController();
  const seen = [];
  const onProgress = ({epoch}) => {
    seen.push(epoch);
    controller.abort(new Error('enough'));
  };
  const ended = await train({epochs: 1000, signal: controller.signal, onProgress}).catch(error => error.message);
  window.result = {progress, names: Object.keys(tensors), ended, seen};
}
main().catch(error => (window.result = {failed: error.message}));
`;

interface Result {
  progress: {epoch: number; loss: number}[];
  names: string[];
  ended: string;
  seen: number[];
}

describeInBrowser('a worker that a bundler builds', () => {
  let site: BundledSite;

  beforeAll(async () => {
    site = await BundledSite.open();
    site.write({'train.worker.js': WORKER, 'train.js': CLIENT, 'main.js': MAIN});
    await site.buildWithVite(VITE_CONFIG);
  });

  afterAll(() => site.close());

  async function expectTraining(): Promise<void> {
    const {progress, names, ended, seen} = await site.resultOf<Result>();
    expect(progress.map(({epoch}) => epoch)).toEqual([1, 2, 3]);
    expect(progress[2]!.loss).toBeLessThan(progress[0]!.loss);
    expect(names).toEqual(expect.arrayContaining(['features/lora_A', 'features/lora_B']));
    expect([ended, seen]).toEqual(['The call was aborted: enough', [1]]);
  }

  test.each([false, true])('trains, reports and can be ended, by Vite; isolated: %p', async isolated => {
    site.serve('dist', isolated);
    await expectTraining();
  });

  test('tells the page what went wrong', async () => {
    site.serve('dist');
    const result = await site.resultOf<{failed: string}>({without: '**/*.wasm'});
    expect(result.failed).toBe('The wasm backend did not start.');
  });

  test('trains, reports and can be ended, by webpack', async () => {
    await site.buildWithWebpack(`{mode: 'development', devtool: false}`);
    site.serve('packed');
    await expectTraining();
  });
});
