// The page that trains in the reader's tab.

import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, toSafetensors} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';
import {make} from '../examples/shared/dom';
import {locateWasm} from '../examples/shared/wasm';

const EPOCHS = 20;
/** The last quarter is not trained on. */
const TRAINED = 300;
const SHOWN = 10;

/** What a model reads in images. */
async function read(model: tf.LayersModel, images: tf.Tensor): Promise<ArrayLike<number>> {
  const digits = tf.tidy(() => tf.argMax(model.predict(images) as tf.Tensor, 1));
  const numbers = await digits.data();
  digits.dispose();
  return numbers;
}

function percentOf(guesses: ArrayLike<number>, truth: ArrayLike<number>): string {
  const right = Array.from(guesses).filter((guess, i) => guess === truth[i]).length;
  return `${((100 * right) / truth.length).toFixed(0)} %`;
}

/** Fills `place` with the digits and the controls of the training. */
export async function start(place: HTMLElement): Promise<void> {
  locateWasm();
  await tf.setBackend('wasm');

  const base = digitReader();
  const {images, labels} = rotatedDigits();
  const unseen = tf.slice(images, TRAINED);
  const truth = await tf.tidy(() => tf.argMax(tf.slice(labels, TRAINED), 1)).data();
  const model = applyLoRA(base, {rank: 8});
  model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});

  const before = await read(base, unseen);
  const readings = make('div', {className: 'try-digits'});
  const answers: HTMLElement[] = [];
  for (let i = 0; i < SHOWN; i++) {
    const canvas = make('canvas', {width: 14, height: 14});
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `a ${truth[i]!}, turned by a quarter`);
    const paper = tf.tidy(() => tf.sub<tf.Tensor3D>(1, tf.squeeze(tf.slice(unseen, i, 1), [0])));
    await tf.browser.toPixels(paper, canvas);
    paper.dispose();
    answers.push(make('div', {textContent: '…'}));
    readings.append(make('figure', {}, canvas, make('div', {textContent: `base: ${before[i]!}`}), answers[i]!));
  }

  const button = make('button', {type: 'button', textContent: 'Train'});
  const save = make('button', {type: 'button', textContent: 'Download the adapter', disabled: true});
  const bar = make('progress', {max: EPOCHS, value: 0});
  bar.setAttribute('aria-label', 'epochs');
  const status = make('p', {
    textContent: `The base reads ${percentOf(before, truth)} of 100 digits that are not trained on.`,
  });
  status.setAttribute('role', 'status');

  async function show(epoch: number, loss: number): Promise<void> {
    const guesses = await read(model, unseen);
    bar.value = epoch;
    status.textContent = `Epoch ${epoch} of ${EPOCHS}: loss ${loss.toFixed(2)}; ${percentOf(guesses, truth)} of 100 digits that are not trained on are read.`;
    answers.forEach((answer, i) => {
      answer.textContent = `LoRA: ${guesses[i]!}`;
      answer.className = guesses[i] === truth[i] ? 'right' : '';
    });
  }

  button.onclick = async () => {
    button.disabled = true;
    const callbacks = new tf.CustomCallback({
      onEpochEnd: (epoch, logs) => show(epoch + 1, Number(logs?.loss)),
    });
    const [xs, ys] = [tf.slice(images, 0, TRAINED), tf.slice(labels, 0, TRAINED)];
    await model.fit(xs, ys, {epochs: EPOCHS, callbacks, yieldEvery: 'batch'});
    tf.dispose([xs, ys]);
    button.textContent = 'Train further';
    button.disabled = false;
    save.disabled = false;
  };
  save.onclick = async () => {
    const bytes = await toSafetensors(model);
    const href = URL.createObjectURL(new Blob([bytes]));
    make('a', {href, download: 'turned.safetensors'}).click();
    URL.revokeObjectURL(href);
  };
  place.append(make('div', {className: 'try-controls'}, button, bar, save), status, readings);
}
