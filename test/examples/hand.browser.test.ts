import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {Page} from 'playwright-core';
import {applyLoRA, disposeModel, loadAdapter} from 'tfjs-lora';
import {drawFrames, drawGrounds, together} from '../../examples/hand/data';
import {handModel, modelFolder} from '../../examples/hand/files';
import {
  errorOf,
  errorOfGuesses,
  featuresOf,
  featuresOfCopies,
  guessesOf,
  learn,
  openHand,
  OUTPUTS,
  seenIn,
} from '../../examples/hand/learn';
import {picture, randomPose, SIDE} from '../../examples/hand/looks';
import {landmarksOf, type Pose} from '../../examples/hand/skeleton';
import {framesPerSecond} from '../../examples/hand/speed';
import {mulberry32} from '../../examples/shared/random';
import {writeTuned} from '../../examples/shared/writeTuned';
import {numbers, useBackend, withoutLeaks} from '../helpers';
import {describeUnless} from '../missing';
import {MemoryHandler} from '../models';
import {temporaryFolder} from '../temporaryFolder';
import {writeFilm} from './fakeCamera';
import {collectErrors, downloads, expectTidy, LOOKS, MISSING_BROWSER, openSite, showAs} from './site';

jest.setTimeout(240_000);

const FLAT: Pose = {
  bend: [0, 0, 0, 0, 0],
  spread: 0.4,
  turn: [0, 0, 0],
  isMirrored: false,
  size: 100,
  at: [100, 120],
};

test('a flat hand is where its measures say, turned by a quarter and mirrored too', () => {
  // The palm is 1 long and its middle 0.8 of that above the wrist; fingers with a spread of 0.4 point as they are.
  const flat = landmarksOf(FLAT);
  expect(flat[0]).toBeAllClose([100, 200, 0]); // the wrist
  expect(flat[9]).toBeAllClose([103, 100, 0]); // the knuckle of the middle finger
  const length = 0.5 + 0.31 + 0.24;
  expect(flat[12]).toBeAllClose([103 + 100 * length * Math.sin(0.02), 100 - 100 * length * Math.cos(0.02), 0]);
  const turned = landmarksOf({...FLAT, turn: [0, 0, Math.PI / 2]});
  expect(turned[0]).toBeAllClose([20, 120, 0]);
  expect(turned[9]).toBeAllClose([120, 123, 0]);
  expect(landmarksOf({...FLAT, isMirrored: true})[9]).toBeAllClose([97, 100, 0]);
  // Bent by half, the first joint turns by 0.7 towards who looks.
  const [, , , , , , , , , knuckle, joint] = landmarksOf({...FLAT, bend: [0, 0, 0.5, 0, 0]});
  expect(joint![2] - knuckle![2]).toBeCloseTo(-50 * Math.sin(0.7), 4);
});

/** What the model's package lacks here, if anything. */
function missingModel(): string | undefined {
  try {
    modelFolder();
    return undefined;
  } catch (error) {
    return `npm does not bring the model of hands: ${(error as Error).message}`;
  }
}

const MISSING_MODEL = missingModel();

describeUnless(MISSING_MODEL, 'the landmark model of hands', () => {
  test('finds a drawn bare hand, and learns gloves; its file and its graph have what it learned', async () => {
    await useBackend('wasm');
    const graph = await tf.loadGraphModel(handModel());
    await withoutLeaks(async () => {
      const hand = await openHand(graph);
      const [bare, unseen, grounds] = [drawFrames(4, 'bare', 3), drawFrames(8, 'glove', 2), drawGrounds(4, 'glove', 4)];
      const gloves = together(drawFrames(12, 'glove', 1), drawGrounds(3, 'glove', 5));
      const [ofBare, features, held] = [
        featuresOf(hand, bare),
        (await featuresOfCopies(hand, gloves, 1, 1))!,
        featuresOf(hand, unseen),
      ];
      expect(features.ys.shape).toEqual([30, 63]);
      expect(errorOf(hand.body, ofBare)).toBeLessThan(0.08);
      const before = errorOf(hand.body, held);
      expect(before).toBeGreaterThan(0.1);
      const losses: number[] = [];
      const onStep = (_: number, steps: number, loss: number) => {
        expect(steps).toBe(20);
        return losses.push(loss) > 0;
      };
      const model = await learn(hand.body, features, {method: 'lora', epochs: 5, seed: 1, onStep});
      expect(losses).toHaveLength(20);
      expect(errorOf(model, held)).toBeLessThan(0.85 * before);

      // The published model sees a hand in few gloves. What has learned sees more, and still none where there is none.
      const empty = featuresOf(hand, grounds);
      tf.tidy(() => {
        const seen = (each: tf.LayersModel) => [held, empty].map(({xs}) => seenIn(guessesOf(each, xs).presence));
        const [seenBefore, seenAfter] = [seen(hand.body), seen(model)];
        expect(seenAfter[0]).toBeGreaterThan(seenBefore[0]! + 2);
        expect([seenBefore[1], seenAfter[1]]).toEqual([0, 0]);
      });
      tf.dispose([grounds, empty].flatMap(({xs, ys}) => [xs, ys]));

      // The file of the adapter, opened again, gives the same numbers.
      const files = {adapter: new MemoryHandler(), graph: new MemoryHandler()};
      const tuned = await writeTuned(graph, model, files);
      const adapter = await loadAdapter(files.adapter);
      const again = applyLoRA(hand.body, adapter);
      tf.tidy(() => {
        const {landmarks: guesses, presence} = guessesOf(model, held.xs);
        const same = guessesOf(again, held.xs);
        expect(numbers(same.landmarks)).toEqual(numbers(guesses));
        expect(numbers(same.presence)).toEqual(numbers(presence));

        // Plain tfjs gives the same places with the graph, whose new weights have 16 bits: within a third of a pixel.
        expect(tuned.inputs[0]!.shape).toEqual([1, SIDE, SIDE, 3]);
        const frames = tf.split(unseen.xs, unseen.xs.shape[0]);
        const ofGraph = tf.concat(frames.map(frame => tuned.execute(frame, OUTPUTS.landmarks) as tf.Tensor));
        expect(numbers(ofGraph)).toBeAllClose(numbers(guesses), {atol: 1 / 3});
        expect(errorOfGuesses(ofGraph, unseen.ys)).toBeCloseTo(errorOf(model, held), 3);
        const present = tf.concat(frames.map(frame => tuned.execute(frame, OUTPUTS.presence) as tf.Tensor));
        expect(numbers(present)).toBeAllClose(numbers(presence), {atol: 0.02});
      });

      const speeds = await framesPerSecond(handModel(), {...files, rounds: 1});
      expect(speeds.map(({name}) => name)).toContain('graph written back');
      speeds.forEach(({perSecond}) => expect(perSecond).toBeGreaterThan(0));
      [model, again, hand.front, hand.body].forEach(disposeModel);
      [tuned, adapter].forEach(each => each.dispose());
      tf.dispose([bare, gloves, unseen, ofBare, features, held].flatMap(({xs, ys}) => [xs, ys]));
    });
  });

  test('a training that is stopped ends with the step', async () => {
    await useBackend('wasm');
    const graph = await tf.loadGraphModel(handModel());
    await withoutLeaks(async () => {
      const hand = await openHand(graph);
      const frames = drawFrames(2, 'glove', 1);
      const features = featuresOf(hand, frames);
      expect(await featuresOfCopies(hand, frames, 9, 1, done => done < 2)).toBeNull();
      let steps = 0;
      const model = await learn(hand.body, features, {method: 'probe', epochs: 9, seed: 1, onStep: () => ++steps < 2});
      expect(steps).toBe(2);
      [model, hand.front, hand.body].forEach(disposeModel);
      tf.dispose([frames, features].flatMap(({xs, ys}) => [xs, ys]));
    });
  });
});

describeUnless(MISSING_MODEL ?? MISSING_BROWSER, 'the page that teaches a landmark model', () => {
  const random = mulberry32(5);
  const film = join(temporaryFolder(), 'gloves.y4m');
  const gloves = Array.from({length: 6}, () => picture(randomPose(random), 'glove', random));
  const site = openSite('hand', MISSING_MODEL === undefined ? modelFolder() : '', writeFilm(film, gloves, SIDE));
  let page: Page;
  let errors: string[];

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}, hasTouch: true});
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready');
  });

  /** Waits until the page says something that begins so. */
  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 120_000});
  }

  /** Where a point of the frozen frame is, in whole pixels of it. */
  async function placeOf(name: string): Promise<number[]> {
    const label = (await page.getAttribute(`#points [aria-label^="${name}"]`, 'aria-label'))!;
    return /(\d+) to the right, (\d+) down/.exec(label)!.slice(1).map(Number);
  }

  /** What a canvas shows, as a picture in text. */
  const shown = (id: string) => page.$eval(`#${id}`, canvas => (canvas as HTMLCanvasElement).toDataURL());

  test('it opens with drawings, finds their landmarks, and is ready to train', async () => {
    expect(await page.textContent('.lead')).toContain('frames stay in the tab');
    expect(await page.textContent('#count')).toBe('10 frames with a hand, 5 without');
    expect(await page.locator('#frames .held').count()).toBe(3);
    expect(await page.isEnabled('#learn')).toBe(true);
    expect(await page.locator('button.primary:visible').allTextContents()).toEqual(['Train']);
    await page.locator('#before-text', {hasText: /^Before training, hand: \d+ %$/}).waitFor();
    expect(await page.isEnabled('#freeze')).toBe(true);
    await page.click('#clear');
    expect(await page.textContent('#count')).toBe('0 frames with a hand, 0 without');
  });

  test('the camera is watched live, and a frame is frozen', async () => {
    await page.click('#camera');
    await says('Show a hand');
    await page.locator('#rate', {hasText: 'frames per second'}).waitFor();
    const first = await shown('before');
    await page.waitForFunction(
      former => (document.querySelector('#before') as HTMLCanvasElement).toDataURL() !== former,
      first,
    );
    await page.click('#freeze');
    expect(await page.locator('#points .dot').count()).toBe(21);
    // The first point has the focus, and says what it is.
    expect(await page.textContent('#place')).toMatch(/^Wrist: \d+ to the right, \d+ down$/);
    await page.click('#close');
    expect(await page.isDisabled('#freeze')).toBe(true);
  });

  test('points move by keys, by the mouse and by touch, and come back', async () => {
    const [x, y] = (await placeOf('Wrist')) as [number, number];
    await page.focus('#points [aria-label^="Wrist"]');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Shift+ArrowUp');
    expect(await placeOf('Wrist')).toEqual([x + 1, y - 10]);
    await page.keyboard.press('Control+z');
    await page.keyboard.press('Control+z');
    expect(await placeOf('Wrist')).toEqual([x, y]);

    const box = (await page.locator('#points').boundingBox())!;
    const onPage = ([right, down]: readonly number[]) =>
      [box.x + (right! * box.width) / SIDE, box.y + (down! * box.width) / SIDE] as const;
    await page.mouse.move(...onPage([x, y]));
    await page.mouse.down();
    await page.mouse.move(...onPage([x - 12, y - 8]), {steps: 3});
    await page.mouse.up();
    const moved = await placeOf('Wrist');
    expect(moved).toBeAllClose([x - 12, y - 8], {atol: 1.01});
    // A finger that comes down beside a point moves it by as much as it moves itself.
    const touch = await page.context().newCDPSession(page);
    const finger = async (type: 'touchStart' | 'touchMove' | 'touchEnd', at?: readonly number[]) => {
      const [pageX, pageY] = at === undefined ? [0, 0] : onPage(at);
      await touch.send('Input.dispatchTouchEvent', {type, touchPoints: at === undefined ? [] : [{x: pageX, y: pageY}]});
    };
    await finger('touchStart', [moved[0]! + 2, moved[1]! + 4]);
    await finger('touchMove', [moved[0]! + 12, moved[1]! + 24]);
    await finger('touchEnd');
    expect(await placeOf('Wrist')).toBeAllClose([moved[0]! + 10, Math.min(SIDE, moved[1]! + 20)], {atol: 1.01});
    await page.click('#undo:text-is("Undo: landmark moved")');
    expect(await placeOf('Wrist')).toEqual(moved);
    await page.click('#keep');
    expect(await page.textContent('#count')).toBe('1 frame with a hand, 0 without');
  });

  test('a frame is saved as one without a hand, and corrected afterwards', async () => {
    await page.click('#camera');
    await page.waitForSelector('#freeze:enabled');
    await page.click('#freeze');
    await page.click('#none');
    expect(await page.textContent('#count')).toBe('1 frame with a hand, 1 without');
    await page.click('[aria-label="Correct frame 2, no hand"]');
    await page.waitForSelector('#editor:not([hidden])');
    await page.click('#keep');
    expect(await page.textContent('#count')).toBe('2 frames with a hand, 0 without');
    await page.click('#undo:text-is("Undo: frame corrected")');
    await page.click('[aria-label="Remove frame 2"]');
    await page.click('#close');
  });

  test('pictures can be watched too, and frames removed and brought back', async () => {
    const photograph = join(__dirname, '../../examples/browser/page-light.jpg');
    await page.setInputFiles('#files', photograph);
    await says('Correct a frame');
    await page.waitForSelector('#freeze:enabled');
    await page.setInputFiles('#files', {name: 'letter.safetensors', mimeType: '', buffer: Buffer.from('Dear page,')});
    await says('letter.safetensors: ');
    expect(await page.textContent('#missing')).toMatch(/^Training needs at least 5 frames with a hand/);
    expect(await page.isDisabled('#learn')).toBe(true);
    await page.click('[aria-label="Remove frame 1"]');
    expect(await page.textContent('#count')).toBe('0 frames with a hand, 0 without');
    await page.click('#undo:text-is("Undo: frame removed")');
    expect(await page.textContent('#count')).toBe('1 frame with a hand, 0 without');
    await page.click('#clear');
    await page.click('#ten');
    expect(await page.textContent('#count')).toBe('10 frames with a hand, 5 without');
    await page.click('#drawn');
    await says('Drawings');
    const drawing = await shown('before');
    await page.click('#next');
    await page.waitForFunction(
      former => (document.querySelector('#before') as HTMLCanvasElement).toDataURL() !== former,
      drawing,
    );
  });

  test('a training is stopped before it has learned anything, and another one learns', async () => {
    await page.click('#learn');
    await page.click('#stop');
    await says('Stopped');
    expect(await page.isDisabled('#forget')).toBe(true);
    const former = await shown('after');
    await page.fill('#epochs', '2');
    await page.click('#learn');
    await says('Trained');
    const [, before, after] = /held-out frames: ([\d.]+) % of the hand's size before training, ([\d.]+) % after/.exec(
      (await page.textContent('#status'))!,
    )!;
    expect(Number(after)).toBeLessThan(Number(before));
    await page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() !== old,
      former,
    );
    expect(await page.textContent('#after-text')).toMatch(/^After training, hand: \d+ %$/);
    expect(await page.textContent('#before-text')).toMatch(/^Before training, hand: \d+ %$/);
    expect(await page.textContent('#status')).toMatch(/in which one is found: 0 of 1 before, 0 after\.$/);
  });

  test('adapter and graph are files: plain tfjs sees by the graph what the page sees', async () => {
    const files = await downloads(page, 1, () => page.click('#save'));
    for (const [name, content] of await downloads(page, 2, () => page.click('#save-graph'))) {
      files.set(name, content);
    }
    expect([...files.keys()].sort()).toEqual(['hand.bin', 'hand.json', 'hand.safetensors']);
    const [topology, weights] = [files.get('hand.json')!, files.get('hand.bin')!];
    const {weightsManifest, ...rest} = JSON.parse(topology.toString()) as tf.io.ModelJSON;
    await useBackend('wasm');
    const weightData = new Uint8Array(weights).buffer;
    const weightSpecs = weightsManifest.flatMap(group => group.weights);
    const tuned = await tf.loadGraphModel(tf.io.fromMemory({...rest, weightSpecs, weightData}));
    const published = await tf.loadGraphModel(handModel());
    const body = await openHand(published);
    const adapter = await loadAdapter(new Uint8Array(files.get('hand.safetensors')!));
    const adapted = applyLoRA(body.body, adapter);
    const {xs} = drawFrames(1, 'glove', 9);
    const {landmarks: expected} = guessesOf(adapted, body.front.predict(xs) as tf.Tensor4D);
    const own = tuned.execute(xs, OUTPUTS.landmarks) as tf.Tensor;
    expect(numbers(own)).toBeAllClose(numbers(expected), {atol: 1 / 3});
    expect(numbers(published.execute(xs, OUTPUTS.landmarks) as tf.Tensor)).not.toBeAllClose(numbers(expected), {
      atol: 3,
    });

    // Forgotten, brought back, and opened from its file.
    const learned = await shown('after');
    await page.click('#forget');
    await says('Adapter removed');
    await page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() !== old,
      learned,
    );
    await page.click('#undo:text-is("Undo: adapter forgotten")');
    await says('Undone');
    await page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() === old,
      learned,
    );
    await page.setInputFiles('#files', {
      ...{name: 'mine.safetensors', mimeType: ''},
      buffer: files.get('hand.safetensors')!,
    });
    await says('Opened mine.safetensors: 112,345 parameters');
  });

  test.each(LOOKS)('it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    await showAs(page, look);
    if (await page.isHidden('#editor')) {
      await page.click('#freeze');
    }
    await expectTidy(page, look, site.screenshots);
  });

  test('after a reload the adapter is here again, and of the frames only the example', async () => {
    await page.reload();
    await says('Ready: .* Your previous adapter is restored');
    expect(await page.textContent('#count')).toBe('10 frames with a hand, 5 without');
    expect(errors).toEqual([]);
  });
});
