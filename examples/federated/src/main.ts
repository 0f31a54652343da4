/** The page of one client: its data, the rounds, and the accuracy of the shared adapter. */
import type {FederationState} from 'tfjs-lora/federated';
import {make, percent} from '../../shared/dom';
import {button, note, page, row, step} from '../../shared/page/controls';
import {say, show, statusLine, work} from '../../shared/page/work';
import {Plot, type Point} from '../../shared/plot';
import {remote} from '../../shared/worker';
import {CLIENTS} from '../task';
import type {ClientEngine, News, Start} from './engine';

const STATES: Readonly<Record<FederationState, string>> = {
  connecting: 'Connecting to the server …',
  waiting: 'Waiting for the next round, which starts when three clients have joined.',
  training: 'Training on these digits …',
  evaluating: 'Evaluating the shared adapter …',
  reconnecting: 'The server does not answer. Reconnecting …',
  over: 'Over.',
};

/** The address of the server: a path of the page's origin, which `serve.ts` proxies. */
const SERVER = new URL('flower', location.href).href;

const asked = new URL(location.href).searchParams;
const client = Math.min(CLIENTS, Math.max(1, Number(asked.get('client') ?? 1) || 1));
const seed = Number(asked.get('seed') ?? 1) || 1;
const method = asked.get('method') === 'lora' ? 'lora' : 'lora-fa';

const digits = make('div', {id: 'digits', role: 'img', ariaLabel: 'Digits of this client'});
const kindsList = make('ol', {id: 'kinds'});
const value = (id: string) => make('dd', {id}, '–');
const [accuracy, round, loss, sent] = [value('accuracy'), value('round'), value('loss'), value('bytes')];
const baseAccuracy = make('span', {id: 'base'}, '–');
const keyLink = make('a', {id: 'key'}, 'the public key of this tab');
const place = make('div', {id: 'plot'});
const plot = new Plot(place, {title: 'Accuracy of the shared adapter, %', y: [0, 100], xLabel: 'rounds'});
const measured: Point[] = [];
let bytes = 0;
let [hasJoined, isLeaving] = [false, false];

const engine = remote<ClientEngine, News>(new Worker(new URL('worker.ts', import.meta.url), {type: 'module'}), onNews);

function onNews(news: News): void {
  switch (news.kind) {
    case 'state':
      say(STATES[news.state]);
      break;
    case 'trained':
      bytes += news.bytes;
      round.textContent = String(news.round);
      loss.textContent = news.loss.toFixed(3);
      sent.textContent = `${(bytes / 1000).toFixed(1)} kB`;
      break;
    case 'measured':
      measure(news.round, news.accuracy);
      break;
  }
}

function measure(x: number, share: number): void {
  measured.push({x, y: 100 * share});
  accuracy.textContent = percent(share);
  plot.show([{name: 'accuracy', points: measured}]);
}

function showClient({kinds, pictures, accuracy: share, publicKey}: Start): void {
  keyLink.href = URL.createObjectURL(new Blob([publicKey]));
  keyLink.download = `client-${client}.pub`;
  baseAccuracy.textContent = percent(share);
  measure(0, share);
  digits.replaceChildren(...pictures.map(canvasOf));
  const most = Math.max(...kinds);
  kindsList.replaceChildren(
    ...kinds.map((count, digit) => {
      const bar = make('span', {className: 'bar'});
      bar.style.setProperty('--share', String(count / most));
      return make('li', {}, make('span', {}, String(digit)), bar, make('span', {}, String(count)));
    }),
  );
}

function canvasOf(pixels: Uint8ClampedArray): HTMLCanvasElement {
  const canvas = make('canvas', {width: 28, height: 28});
  const picture = new ImageData(28, 28);
  pixels.forEach((grey, i) => picture.data.set([255 - grey, 255 - grey, 255 - grey, 255], 4 * i));
  canvas.getContext('2d')!.putImageData(picture, 0, 0);
  return canvas;
}

async function takePart(): Promise<string> {
  hasJoined = true;
  show();
  try {
    const {rounds, bytesSent, bytesReceived} = await engine.join(SERVER);
    return (
      `Over: this client trained in ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, sent ` +
      `${bytesSent.toLocaleString('en')} bytes and received ${bytesReceived.toLocaleString('en')}. Its digits never ` +
      'left the tab.'
    );
  } finally {
    [hasJoined, isLeaving] = [false, false];
  }
}

async function leave(): Promise<void> {
  isLeaving = true;
  show();
  say('Leaving after this round …');
  await engine.leave().catch((error: unknown) => say((error as Error).message));
}

const others = Array.from({length: CLIENTS}, (_, i) => i + 1)
  .filter(other => other !== client)
  .map(other => make('a', {href: `?client=${other}`, target: '_blank', rel: 'noopener'}, `client ${other}`));
const figure = (term: string, description: HTMLElement) => make('div', {}, make('dt', {}, term), description);
const about = note('');
about.append(
  ...['Accuracy is measured on 300 held-out digits. The base model has ', baseAccuracy, '. A round starts when three '],
  ...['clients have joined: open ', make('span', {id: 'others'}, ...others), ' in other tabs. A server that admits '],
  ...['only known clients needs ', keyLink, '.'],
);

page([
  step('data', `Data of client ${client}`, digits, make('h3', {}, 'Digits of each kind'), kindsList),
  step(
    'rounds',
    'Shared adapter',
    row(
      button('Join', () => work(takePart), {id: 'join', kind: 'primary'}),
      button('Leave', leave, {id: 'leave', whileBusy: () => hasJoined && !isLeaving}),
    ),
    statusLine,
    make(
      'dl',
      {},
      figure('Accuracy', accuracy),
      figure('Round', round),
      figure('Loss of this client', loss),
      figure('Sent', sent),
    ),
    place,
    about,
  ),
]);
void work(async () => {
  showClient(await engine.start({client: client - 1, method, seed}));
  return 'Ready.';
});
