import {readFileSync, rmSync, writeFileSync} from 'node:fs';
import {setTimeout as pause} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {createNodeKey, nodeKeyText} from 'tfjs-lora/federated';
import {openPage} from '../../../examples/shared/serve';
import {type Client, keyFile, startProcess} from '../../../examples/federated/clients';
import {type RunConfig, SuperLink, type SuperLinkOptions} from '../../../examples/federated/flower';
import type {Order} from '../../../examples/federated/node';
import {openBrowser, startTab} from '../../../examples/federated/tab';

/** What the clients of a check begin with, which the page serves too, and where files go. */
export interface Setting {
  base: string;
  adapter: string;
  path: (name: string) => string;
}

const NODES = 2;

/**
 * Real servers of other kinds than that of the example: one that admits registered nodes alone, by TLS; one that is
 * killed in the middle of a run; one that clips and adds noise; one that asks for secure aggregation.
 */
export async function checkServers(setting: Setting): Promise<void> {
  await checkClosed(setting);
  await checkRestart(setting);
  await checkNoise(setting);
  await checkSecure(setting);
}

/** Runs something with a SuperLink, and ends it and the clients afterwards. */
async function withLink(
  options: SuperLinkOptions,
  use: (link: SuperLink, start: (order: Order, rounds?: (round: number) => void) => Client) => Promise<void>,
): Promise<void> {
  const link = await SuperLink.start(options);
  const clients: Client[] = [];
  const environment = options.isClosed ? {NODE_EXTRA_CA_CERTS: link.certificate} : {};
  try {
    await use(link, (order, onRound) => {
      const client = startProcess(order, environment, ({report}) => onRound?.(report.round));
      client.over.catch(() => undefined); // whoever awaits it is told
      clients.push(client);
      return client;
    });
  } finally {
    clients.forEach(client => client.kill());
    link.stop();
  }
}

function orders({base, adapter, path}: Setting, link: SuperLink): Promise<Order[]> {
  return Promise.all(
    Array.from({length: NODES}, async (_, client) => {
      const key = await keyFile(path(`check-${client}.json`));
      return {url: link.url, method: 'lora-fa' as const, seed: 1, base, adapter, key, client};
    }),
  );
}

function config({adapter, path}: Setting, more: Partial<RunConfig>): RunConfig {
  const result = path('check-result.safetensors');
  rmSync(result, {force: true});
  const usual = {strategy: 'mean', rounds: 2, nodes: NODES, frozen: 'lora_A', evaluate: false} as const;
  return {...usual, adapter, result, ...more};
}

/** What a promise is rejected with. */
async function faultOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  );
}

function must(holds: boolean, what: string): void {
  if (!holds) {
    throw new Error(what);
  }
}

async function checkClosed(setting: Setting): Promise<void> {
  await withLink({isClosed: true}, async (link, start) => {
    const given = await orders(setting, link);
    const refusal = await faultOf(start(given[0]!).over);
    must(refusal.includes("nodeKeyText(key, 'public')"), `A node whose key nobody registered was told: ${refusal}`);
    for (const [i, {key}] of given.entries()) {
      const file = setting.path(`check-${i}.pub`);
      writeFileSync(file, await nodeKeyText(await createNodeKey(readFileSync(key, 'utf8')), 'public'));
      await link.register(file);
    }
    await withTab(link, async tabs => {
      const clients = [...given.map(order => start(order)), ...tabs];
      const run = link.run(config(setting, {nodes: clients.length}));
      const [, ...did] = await Promise.all([run, ...clients.map(({over}) => over)]);
      must(
        did.every(({rounds}) => rounds === 2),
        'Registered nodes must take part in both rounds, over TLS.',
      );
      const which = tabs.length > 0 ? ', a tab among them,' : '';
      console.log(`A SuperLink with TLS and registered nodes: a stranger is refused, the others${which} take part.`);
    });
  });
}

/** Runs something with a client in a tab that has its key registered, if there is a browser. */
async function withTab(link: SuperLink, use: (tabs: Client[]) => Promise<void>): Promise<void> {
  const browser = await openBrowser();
  if (browser === undefined) {
    await use([]);
    return;
  }
  Object.assign(process.env, {FLOWER_URL: link.url, FLOWER_CERTIFICATE: link.certificate});
  const page = await openPage(fileURLToPath(new URL('../../../examples/federated/vite.config.ts', import.meta.url)));
  delete process.env.FLOWER_CERTIFICATE;
  try {
    const order = {page: page.url, client: NODES, method: 'lora-fa' as const, seed: 1};
    await use([startTab(browser, order, key => link.register(key))]);
  } finally {
    await browser.browser()?.close();
    await page.close();
  }
}

async function checkRestart(setting: Setting): Promise<void> {
  await withLink({isLasting: true}, async (link, start) => {
    const rounds = 4;
    let restarted: Promise<void> | undefined;
    const clients = (await orders(setting, link)).map(order =>
      start(order, round => {
        if (round === 2) {
          restarted ??= link.restart();
        }
      }),
    );
    const [, ...did] = await Promise.all([link.run(config(setting, {rounds})), ...clients.map(({over}) => over)]);
    must(restarted !== undefined, 'The SuperLink must be killed in the middle of the run.');
    await restarted;
    must(
      did.every(each => each.rounds === rounds),
      `Each node must train in ${rounds} rounds, and they did in ${did.map(each => each.rounds).join(' and ')}.`,
    );
  });
  console.log('A SuperLink with a database, killed in round 2 and started again: the nodes come back, the run ends.');
}

async function checkNoise(setting: Setting): Promise<void> {
  await withLink({}, async (link, start) => {
    const clients = (await orders(setting, link)).map(order => start(order));
    await Promise.all([link.run(config(setting, {clip: '0.5', noise: '0.1'})), ...clients.map(({over}) => over)]);
  });
  console.log('A strategy that clips updates and adds noise on the server takes these nodes.');
}

async function checkSecure(setting: Setting): Promise<void> {
  await withLink({}, async (link, start) => {
    const clients = (await orders(setting, link)).map(order => start(order));
    const run = faultOf(link.run(config(setting, {strategy: 'secure'})));
    for (const {over} of clients) {
      const refusal = await faultOf(over);
      must(refusal.includes('SecAgg'), `A node that is asked for secure aggregation said: ${refusal}`);
    }
    await Promise.race([run, pause(60_000)]);
  });
  console.log('A run with secure aggregation is refused by the nodes, by name.');
}
