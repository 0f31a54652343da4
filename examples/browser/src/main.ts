import {NEW_DIGITS} from './format';
import {rememberBackend, rememberedBackend} from './page/backendChoice';
import {Charts} from './page/charts';
import {Client} from './page/client';
import {byId, numberIn, percent, wholeNumberIn} from '../../shared/dom';
import {DigitImages} from './page/digits';
import {showAdapter, showEnd, showProgress, showStart} from './page/figures';
import {download, onFiles} from './page/files';
import {LabelList} from './page/labelList';
import {hideMessage, showMessage} from './page/message';
import {Pad} from './page/pad';
import {Predictions} from './page/predictions';
import {Samples} from './page/samples';
import type {AdapterState, Backend} from './protocol';

const charts = new Charts(byId('loss-chart'), byId('accuracy-chart'), byId('rates-chart'));
const client = new Client(progress => {
  showProgress(progress);
  charts.add(progress);
  if (progress.kind === 'epoch') {
    predictions.refresh();
  }
});
const labelList = new LabelList(byId('labels'));
const samples = new Samples(NEW_DIGITS.map(String), {change: showSamples, rename: renameLabel});
const predictions = new Predictions(client, () => adapter?.labels ?? samples.labels.map(({name}) => name));
const pad = new Pad(byId('pad'), image => {
  byId('pad-hint').hidden = image !== null;
  byId('pad-note').textContent = '';
  predictions.show(image);
  showState();
});

let digits: DigitImages;
let backend: Backend = 'cpu';
let baseParameters = 0;
let adapter: AdapterState | null = null;
/** What the worker is doing that must not be disturbed. */
let activity: 'starting' | 'training' | 'working' | null = 'starting';

/** Shows what has been collected. */
function showSamples(): void {
  labelList.show(samples);
  byId('add-drawing').textContent = `Add drawing to “${samples.selected.name}”`;
  predictions.refresh();
  showState();
}

/** Renames a label of the adapter too, if it has learned that one. */
function renameLabel(from: string, to: string): void {
  if (adapter?.labels.includes(from)) {
    void alone('working', async () => setAdapter(await client.call('renameLabel', from, to)));
  }
}

function setAdapter(value: AdapterState | null): void {
  adapter = value;
  showAdapter(adapter, baseParameters);
}

/** Lets the visitor do what makes sense now. */
function showState(): void {
  const {labels, samples: collected} = samples.forTraining();
  const further = adapter !== null && adapter.labels.join('\n') === labels.join('\n');
  byId('train').textContent = further ? 'Train further' : 'Train';
  const ready = activity !== 'starting';
  const idle = activity === null;
  const enabled: Record<string, boolean> = {
    clear: pad.image !== null,
    unseen: ready,
    'add-drawing': pad.image !== null,
    'label-fields': activity !== 'training',
    'add-label': activity !== 'training' && samples.canAddLabel,
    take: ready,
    'clear-samples': collected.images.length > 0,
    train: idle && labels.length >= 2,
    'find-rate': idle && labels.length >= 2,
    stop: activity === 'training',
    backend: idle,
    on: idle && adapter !== null,
    strength: idle && adapter !== null && byId<HTMLInputElement>('on').checked,
    file: idle,
    'download-adapter': idle && adapter !== null,
    'download-model': idle && adapter !== null && byId<HTMLInputElement>('on').checked,
    forget: idle && adapter !== null,
  };
  for (const [id, isEnabled] of Object.entries(enabled)) {
    byId<HTMLButtonElement>(id).disabled = !isEnabled;
  }
  byId('train-note').hidden = labels.length >= 2;
}

/** Whether the visitor lets go of the adapter, if there is one. */
function mayReplace(): boolean {
  return adapter === null || confirm('The adapter that was trained here goes, and cannot be brought back. Go on?');
}

/** Does something with the worker alone, and says so if it fails. */
async function alone(what: 'training' | 'working', work: () => Promise<void>): Promise<void> {
  activity = what;
  hideMessage();
  showState();
  try {
    await work();
  } catch (error) {
    showMessage((error as Error).message, 'fault');
  } finally {
    activity = null;
    showState();
    predictions.refresh();
  }
}

function train(): Promise<void> {
  return alone('training', async () => {
    const {labels, samples: images} = samples.forTraining();
    charts.reset();
    showStart();
    const settings = {epochs: wholeNumberIn(byId('epochs')), learningRate: numberIn(byId('rate'))};
    const job = {labels, samples: images, heldOut: digits.heldOut(labels), ...settings};
    const {adapter: trained, stopped, heldOutAccuracy} = await client.call('train', job);
    setAdapter(trained);
    const read =
      heldOutAccuracy === null
        ? ''
        : ` Reads ${percent(heldOutAccuracy)} of ${job.heldOut.images.length} unseen digits.`;
    const kept = trained.kept ? '' : ' This browser will not keep the adapter beyond a reload: download it.';
    showEnd(`${stopped ? 'Stopped.' : 'Done.'}${read}${kept}`);
  });
}

function findRate(): Promise<void> {
  return alone('working', async () => {
    const {labels, samples: images} = samples.forTraining();
    const {curve, suggestion} = await client.call('tryRates', {labels, samples: images});
    byId('rates').hidden = false;
    byId('rates-text').textContent =
      suggestion === null
        ? 'No suggestion: nowhere does it fall by more than from batch to batch. The adapter has learned what it can.'
        : `It falls fastest at ${suggestion.toPrecision(2)}.`;
    charts.showRates(curve);
  });
}

function takeSamples(): void {
  const count = wholeNumberIn(byId('count'));
  let taken = 0;
  for (const digit of NEW_DIGITS) {
    const label = samples.named(String(digit));
    if (label !== undefined) {
      const images = digits.take(digit, count);
      samples.add(label, ...images);
      taken += images.length;
    }
  }
  if (taken === 0) {
    showMessage('All sample images are taken already.');
  }
}

function openFiles(files: File[]): void {
  if (activity !== null) {
    showMessage('Wait until the training has ended, then drop the file again.', 'fault');
    return;
  }
  void alone('working', async () => {
    const opened = await client.call('openAdapter', files);
    setAdapter(opened);
    samples.setLabels(opened.labels);
    showEnd('Adapter loaded from a file.');
    showMessage(`Loaded ${files[0]!.name}. It reads: ${opened.labels.join(', ')}.`);
  });
}

function showBackend(value: Backend): void {
  backend = value;
  byId<HTMLSelectElement>('backend').value = value;
}

/** Tells the worker how strong the adapter is to be. */
function setStrength(): void {
  const isOn = byId<HTMLInputElement>('on').checked;
  const {valueAsNumber} = byId<HTMLInputElement>('strength');
  byId('strength-value').textContent = valueAsNumber.toFixed(2);
  void client.call('setStrength', isOn ? valueAsNumber : null);
  predictions.refresh();
  showState();
}

function onClick(id: string, action: () => unknown): void {
  byId(id).addEventListener('click', () => void action());
}

onClick('clear', () => pad.clear());
onClick('unseen', () => {
  const {digit, image} = digits.unseen();
  pad.show(image);
  byId('pad-note').textContent = `A ${digit} that no training has seen.`;
});
onClick('add-label', () => {
  samples.addLabel();
  labelList.edit(samples.selected);
});
onClick('add-drawing', () => {
  samples.add(samples.selected, pad.image!);
  pad.clear();
});
onClick('take', takeSamples);
onClick('clear-samples', () => {
  samples.clear();
  digits.putBack();
});
onClick('train', train);
onClick('find-rate', findRate);
onClick('stop', () => client.call('stop'));
onClick('download-adapter', () => alone('working', async () => download(await client.call('adapterFile'))));
onClick('download-model', () => alone('working', async () => download(...(await client.call('mergedFiles')))));
onClick('forget', async () => {
  if (mayReplace()) {
    await alone('working', async () => {
      await client.call('forget');
      setAdapter(null);
      showEnd('The adapter is gone.');
    });
  }
});
byId('on').addEventListener('change', setStrength);
byId('strength').addEventListener('input', setStrength);
byId<HTMLSelectElement>('backend').addEventListener('change', ({target}) => {
  const select = target as HTMLSelectElement;
  const wished = select.value as Backend;
  select.value = backend; // until the models are there
  void alone('working', async () => {
    await client.call('useBackend', wished);
    showBackend(wished);
    rememberBackend(wished);
  });
});
onFiles(byId('file'), byId('drop'), openFiles);

async function start(): Promise<void> {
  const [started, images] = await Promise.all([
    client.call('start', new URL('model/model.json', document.baseURI).href, rememberedBackend()),
    DigitImages.load('samples.bin'),
  ]);
  digits = images;
  baseParameters = started.baseParameters;
  byId('backend').replaceChildren(...started.backends.map(name => new Option(name, name)));
  showBackend(started.backend);
  setAdapter(started.adapter);
  if (started.adapter !== null) {
    samples.setLabels(started.adapter.labels);
    showEnd('Your adapter from last time is here again.');
  }
  if (started.fault !== null) {
    showMessage(`The adapter that this browser keeps could not be loaded: ${started.fault}`, 'fault');
  }
  activity = null;
  showState();
  predictions.refresh();
}

addEventListener('unhandledrejection', ({reason}) => showMessage((reason as Error).message, 'fault'));
showSamples();
setStrength();
start().catch((error: unknown) => showMessage(`The page could not start: ${(error as Error).message}`, 'fault'));
