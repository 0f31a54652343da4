import {NEW_DIGITS} from './format';
import {rememberBackend, rememberedBackend} from './page/backendChoice';
import {Charts} from './page/charts';
import {byId, numberIn, percent, wholeNumberIn} from '../../shared/dom';
import {download, onFiles} from '../../shared/files';
import {History} from '../../shared/history';
import {Kept} from '../../shared/kept';
import {hideMessage, showMessage} from '../../shared/message';
import {remote} from '../../shared/worker';
import {DigitImages} from './page/digits';
import {showAccuracy, showAdapter, showEnd, showLeftOut, showProgress, showStart} from './page/figures';
import {LabelList} from './page/labelList';
import {Pad} from './page/pad';
import {Predictions} from './page/predictions';
import {type Collection, Samples} from './page/samples';
import type {AdapterState, Backend, Divergence, Engine, Progress, Settings} from './protocol';

const charts = new Charts(byId('loss-chart'), byId('accuracy-chart'), byId('rates-chart'));
const worker = new Worker(new URL('worker/index.ts', import.meta.url), {type: 'module'});
const client = remote<Engine, Progress>(worker, progress => {
  showProgress(progress);
  charts.add(progress);
  if (progress.kind === 'epoch') {
    predictions.refresh();
  }
});
const labelList = new LabelList(byId('labels'));
const history = new History(byId('undo'));
const keptSamples = new Kept<Collection>('digit-reader-samples');
const samples = new Samples(NEW_DIGITS.map(String), {
  before: rememberSamples,
  change: () => {
    showSamples();
    void keptSamples.write(samples.collection);
  },
  rename: renameLabel,
});
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
/** What the worker is doing, if it must not be interrupted. */
let activity: 'starting' | 'training' | 'working' | null = 'starting';

/** Shows the samples. */
function showSamples(): void {
  labelList.show(samples);
  showLeftOut(null);
  byId('add-drawing').textContent = `Add drawing to “${samples.selected.name}”`;
  predictions.refresh();
  showState();
}

/** Renames a label of the adapter too, if it has learned that one. */
function renameLabel(from: string, to: string): void {
  if (adapter?.labels.includes(from)) {
    void alone('working', async () => setAdapter(await client.renameLabel(from, to)));
  }
}

/** Lets the visitor undo what is about to happen to the samples. */
function rememberSamples(what: string): void {
  const {collection} = samples;
  history.add(what, () => {
    const present = samples.labels.map(({name}) => name);
    samples.restore(collection);
    // A renamed label has another name at the same place.
    const names = collection.labels.map(({name}) => name);
    const at = names.findIndex((name, i) => name !== present[i]);
    if (at >= 0 && names.length === present.length) {
      renameLabel(present[at]!, names[at]!);
    }
  });
}

/** Returns a function that restores the current adapter. Call it before the adapter is replaced. */
async function wayBack(): Promise<() => Promise<void>> {
  const file = adapter === null ? null : await client.adapterFile();
  return () =>
    alone('working', async () => {
      if (file === null) {
        await client.forget();
        setAdapter(null);
      } else {
        setAdapter(await client.openAdapter([new File([file.content], file.name)]));
      }
      showAccuracy(null);
      showEnd(file === null ? 'Not trained yet.' : 'The previous adapter is restored.');
    });
}

function setAdapter(value: AdapterState | null): void {
  adapter = value;
  showAdapter(adapter, baseParameters);
}

/** Enables the controls that make sense now. */
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
    'leave-out': idle && labels.length >= 2,
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
  history.allow(idle);
}

/** Does something with the worker that must not be interrupted, and shows an error if it fails. */
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

function settings(): Settings {
  return {epochs: wholeNumberIn(byId('epochs')), learningRate: numberIn(byId('rate'))};
}

function train(): Promise<void> {
  return alone('training', async () => {
    const {labels, samples: images} = samples.forTraining();
    const before = adapter;
    const goBack = await wayBack();
    charts.reset();
    showStart();
    const job = {labels, samples: images, heldOut: digits.heldOut(labels), ...settings()};
    const {adapter: trained, stopped, diverged, heldOutAccuracy} = await client.train(job);
    setAdapter(trained);
    history.add('training', goBack);
    if (diverged !== null) {
      sayDiverged(diverged, job.learningRate);
      return;
    }
    const read =
      heldOutAccuracy === null
        ? ''
        : ` Accuracy on ${job.heldOut.images.length} held-out digits: ${percent(heldOutAccuracy)}.`;
    const kept = trained.kept ? '' : ' This browser does not keep the adapter when you reload the page: download it.';
    const replaced =
      before === null || before.labels.join('\n') === labels.join('\n')
        ? ''
        : ` The labels have changed, so a new adapter was trained. Undo restores the one for ${before.labels.join(', ')}.`;
    showEnd(`${stopped ? 'Stopped.' : 'Done.'}${read}${kept}${replaced}`);
  });
}

function sayDiverged({from, to}: Divergence, rate: number): void {
  const isHigher = !(to <= 1.5 * from);
  const end = Number.isNaN(to) ? 'became NaN' : `ended at ${to.toFixed(2)}`;
  showEnd(isHigher ? 'Stopped: the loss increased.' : 'Stopped: the adapter is no better than guessing.');
  showMessage(
    `Training ${isHigher ? 'diverged' : 'did not help'}: the loss started at ${from.toFixed(2)} and ${end}. ` +
      `Go back, and use a learning rate below ${rate}.`,
    'fault',
    {text: 'Go back', act: () => history.undo()},
  );
}

/** Shows how many samples are read by adapters that were trained without them. */
function leaveOut(): Promise<void> {
  return alone('training', async () => {
    const {labels, samples: images} = samples.forTraining();
    showStart();
    const result = await client.leaveOut({labels, samples: images, ...settings()});
    if (result.stopped) {
      showEnd('Stopped.');
      return;
    }
    showLeftOut(result);
    const {right, judged} = result;
    const alone = images.images.length - judged;
    const single = alone === 0 ? '' : ` ${alone} were not tested: they are the only samples of their labels.`;
    showEnd(`${right} of ${judged} samples are read by an adapter that was trained without them.${single}`);
  });
}

function findRate(): Promise<void> {
  return alone('working', async () => {
    const {labels, samples: images} = samples.forTraining();
    const {curve, suggestion} = await client.tryRates({labels, samples: images});
    byId('rates').hidden = false;
    byId('rates-text').textContent =
      suggestion === null
        ? 'No suggestion: at no rate does the loss fall by more than its noise. More training will not help much.'
        : `The loss falls fastest at ${suggestion.toPrecision(2)}.`;
    charts.showRates(curve);
  });
}

function takeSamples(): void {
  const count = wholeNumberIn(byId('count'));
  const present = samples.forTraining().samples.images;
  const taken = samples.take(NEW_DIGITS.map(String), name => digits.take(Number(name), count, present));
  if (taken === 0) {
    showMessage('All sample images have been added already.');
  }
}

function openFiles(files: File[]): void {
  if (activity !== null) {
    showMessage('Wait until training has finished, then drop the file again.', 'fault');
    return;
  }
  void alone('working', async () => {
    const {collection} = samples;
    const goBack = await wayBack();
    const opened = await client.openAdapter(files);
    setAdapter(opened);
    samples.setLabels(opened.labels);
    history.add('file opened', () => {
      samples.restore(collection);
      return goBack();
    });
    showAccuracy(null);
    showEnd('Adapter loaded from a file.');
    showMessage(`Loaded ${files[0]!.name}. Its labels: ${opened.labels.join(', ')}.`, 'news', {
      text: 'Undo',
      act: () => history.undo(),
    });
  });
}

function showBackend(value: Backend): void {
  backend = value;
  byId<HTMLSelectElement>('backend').value = value;
}

/** Tells the worker the strength of the adapter. */
function setStrength(): void {
  const isOn = byId<HTMLInputElement>('on').checked;
  const {valueAsNumber} = byId<HTMLInputElement>('strength');
  byId('strength-value').textContent = valueAsNumber.toFixed(2);
  void client.setStrength(isOn ? valueAsNumber : null);
  predictions.refresh();
  showState();
}

function onClick(id: string, action: () => unknown): void {
  byId(id).addEventListener('click', () => void action());
}

onClick('clear', () => pad.clear());
function showUnseen(): void {
  const {digit, image} = digits.unseen();
  pad.show(image);
  byId('pad-note').textContent = `This ${digit} is not used for training.`;
}

onClick('unseen', showUnseen);
onClick('add-label', () => {
  samples.addLabel();
  labelList.edit(samples.selected);
});
onClick('add-drawing', () => {
  samples.add(pad.image!);
  pad.clear();
});
onClick('take', takeSamples);
onClick('clear-samples', () => samples.clear());
onClick('train', train);
onClick('find-rate', findRate);
onClick('leave-out', leaveOut);
onClick('stop', () => client.stop());
onClick('download-adapter', () => alone('working', async () => download(await client.adapterFile())));
onClick('download-model', () => alone('working', async () => download(...(await client.mergedFiles()))));
onClick('forget', () =>
  alone('working', async () => {
    const goBack = await wayBack();
    await client.forget();
    setAdapter(null);
    history.add('adapter forgotten', goBack);
    showAccuracy(null);
    showEnd('Adapter removed. Undo restores it until you reload the page.');
  }),
);
byId('on').addEventListener('change', setStrength);
byId('strength').addEventListener('input', setStrength);
byId<HTMLSelectElement>('backend').addEventListener('change', ({target}) => {
  const select = target as HTMLSelectElement;
  const wished = select.value as Backend;
  select.value = backend; // until the models are there
  void alone('working', async () => {
    await client.useBackend(wished);
    showBackend(wished);
    rememberBackend(wished);
  });
});
onFiles(byId('file'), byId('drop'), openFiles);

async function start(): Promise<void> {
  const [started, images, collection] = await Promise.all([
    client.start(new URL('model/model.json', document.baseURI).href, rememberedBackend()),
    DigitImages.load('samples.bin'),
    keptSamples.read(),
  ]);
  digits = images;
  baseParameters = started.baseParameters;
  byId('backend').replaceChildren(...started.backends.map(name => new Option(name, name)));
  showBackend(started.backend);
  setAdapter(started.adapter);
  if (collection !== null) {
    samples.restore(collection);
  } else if (started.adapter !== null) {
    samples.setLabels(started.adapter.labels);
  } else {
    // Opens with something to train on.
    samples.take(NEW_DIGITS.map(String), name => digits.take(Number(name), wholeNumberIn(byId('count')), []));
    history.clear();
  }
  if (started.adapter !== null) {
    showEnd('Your previous adapter is restored.');
  }
  if (started.fault !== null) {
    showMessage(`The adapter that this browser kept could not be loaded: ${started.fault}`, 'fault');
  }
  activity = null;
  showUnseen();
}

addEventListener('unhandledrejection', ({reason}) => showMessage((reason as Error).message, 'fault'));
showSamples();
setStrength();
start().catch((error: unknown) => showMessage(`The page could not start: ${(error as Error).message}`, 'fault'));
