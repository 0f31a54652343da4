/** The page of one client: its data, the rounds, and the accuracy of the shared adapter. */
import type {FederationState} from 'tfjs-lora/federated';
import {byId, make, percent} from '../../shared/dom';
import {Plot, type Point} from '../../shared/plot';
import {Remote} from '../../shared/worker';
import {CLIENTS} from '../task';
import type {Engine, News, Start} from './protocol';

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
const [status, joinButton, leaveButton] = [
  byId('status'),
  byId<HTMLButtonElement>('join'),
  byId<HTMLButtonElement>('leave'),
];
const plot = new Plot(byId('plot'), {title: 'Accuracy of the shared adapter, %', y: [0, 100], xLabel: 'rounds'});
const measured: Point[] = [];
let bytes = 0;

const worker = new Worker(new URL('worker.ts', import.meta.url), {type: 'module'});
const engine = new Remote<Engine, News>(worker, onNews);

function onNews(news: News): void {
  switch (news.kind) {
    case 'state':
      say(STATES[news.state]);
      break;
    case 'trained':
      bytes += news.bytes;
      byId('round').textContent = String(news.round);
      byId('loss').textContent = news.loss.toFixed(3);
      byId('bytes').textContent = `${(bytes / 1000).toFixed(1)} kB`;
      break;
    case 'measured':
      measured.push({x: news.round, y: 100 * news.accuracy});
      byId('accuracy').textContent = percent(news.accuracy);
      plot.show([{name: 'accuracy', points: measured}]);
      break;
  }
}

function say(text: string, isFault = false): void {
  status.textContent = text;
  status.classList.toggle('fault', isFault);
}

function show({kinds, pictures, accuracy, publicKey}: Start): void {
  const keyLink = byId<HTMLAnchorElement>('key');
  keyLink.href = URL.createObjectURL(new Blob([publicKey]));
  keyLink.download = `client-${client}.pub`;
  byId('base').textContent = percent(accuracy);
  byId('accuracy').textContent = percent(accuracy);
  measured.push({x: 0, y: 100 * accuracy});
  plot.show([{name: 'accuracy', points: measured}]);
  byId('digits').replaceChildren(...pictures.map(canvasOf));
  const most = Math.max(...kinds);
  byId('kinds').replaceChildren(
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
  pixels.forEach((value, i) => picture.data.set([255 - value, 255 - value, 255 - value, 255], 4 * i));
  canvas.getContext('2d')!.putImageData(picture, 0, 0);
  return canvas;
}

async function takePart(): Promise<void> {
  joinButton.disabled = true;
  leaveButton.disabled = false;
  try {
    const {rounds, bytesSent, bytesReceived} = await engine.call('join', SERVER);
    const [sent, received] = [bytesSent, bytesReceived].map(count => count.toLocaleString('en'));
    say(
      `Over: this client trained in ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, sent ${sent} bytes and received ` +
        `${received}. Its digits never left the tab.`,
    );
  } catch (error) {
    say((error as Error).message, true);
  } finally {
    joinButton.disabled = false;
    leaveButton.disabled = true;
  }
}

joinButton.addEventListener('click', () => void takePart());
leaveButton.addEventListener('click', () => {
  leaveButton.disabled = true;
  say('Leaving after this round …');
  engine.call('leave').catch((error: unknown) => say((error as Error).message, true));
});

byId('client').textContent = String(client);
byId('others').replaceChildren(
  ...Array.from({length: CLIENTS}, (_, i) => i + 1)
    .filter(other => other !== client)
    .map(other => make('a', {href: `?client=${other}`, target: '_blank', rel: 'noopener'}, `client ${other}`)),
);

engine.call('start', {client: client - 1, method, seed}).then(
  start => {
    show(start);
    say('Ready.');
    joinButton.disabled = false;
  },
  (error: unknown) => say((error as Error).message, true),
);
