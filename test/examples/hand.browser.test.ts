import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
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
import {expectTidy, LOOKS, MISSING_BROWSER, showAs} from './site';
import {testsOfEveryPage, visitPage} from './visit';

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
  const visit = visitPage('hand', {
    models: MISSING_MODEL === undefined ? modelFolder() : '',
    browser: writeFilm(film, gloves, SIDE),
  });

  /** Where a point of the frozen frame is, in whole pixels of it. */
  async function placeOf(name: string): Promise<number[]> {
    const label = (await visit.page.getAttribute(`#points [aria-label^="${name}"]`, 'aria-label'))!;
    return /(\d+) to the right, (\d+) down/.exec(label)!.slice(1).map(Number);
  }

  /** What a canvas shows, as a picture in text. */
  const shown = (id: string) => visit.page.$eval(`#${id}`, canvas => (canvas as HTMLCanvasElement).toDataURL());

  test('it opens with drawings, finds their landmarks, and is ready to train', async () => {
    expect(await visit.page.textContent('.lead')).toContain('frames stay in the tab');
    expect(await visit.page.textContent('#count')).toBe('10 frames with a hand, 5 without');
    expect(await visit.page.locator('#frames .held').count()).toBe(4);
    expect(await visit.page.isEnabled('#learn')).toBe(true);
    expect(await visit.page.locator('button.primary:visible').allTextContents()).toEqual(['Train']);
    await visit.page.locator('#before-text', {hasText: /^Before training, hand: \d+ %$/}).waitFor();
    expect(await visit.page.isEnabled('#freeze')).toBe(true);
    await visit.page.click('#clear');
    expect(await visit.page.textContent('#count')).toBe('0 frames with a hand, 0 without');
  });

  test('the camera is watched live, and a frame is frozen', async () => {
    await visit.page.click('#camera');
    await visit.says('Show a hand');
    await visit.page.locator('#rate', {hasText: 'frames per second'}).waitFor();
    const first = await shown('before');
    await visit.page.waitForFunction(
      former => (document.querySelector('#before') as HTMLCanvasElement).toDataURL() !== former,
      first,
    );
    await visit.page.click('#freeze');
    expect(await visit.page.locator('#points .dot').count()).toBe(21);
    // The first point has the focus, and says what it is.
    expect(await visit.page.textContent('#place')).toMatch(/^Wrist: \d+ to the right, \d+ down$/);
    await visit.page.click('#close');
    expect(await visit.page.isDisabled('#freeze')).toBe(true);
  });

  test('points move by keys, by the mouse and by touch, and come back', async () => {
    const [x, y] = (await placeOf('Wrist')) as [number, number];
    await visit.page.focus('#points [aria-label^="Wrist"]');
    await visit.page.keyboard.press('ArrowRight');
    await visit.page.keyboard.press('Shift+ArrowUp');
    expect(await placeOf('Wrist')).toEqual([x + 1, y - 10]);
    await visit.page.keyboard.press('Control+z');
    await visit.page.keyboard.press('Control+z');
    expect(await placeOf('Wrist')).toEqual([x, y]);

    const box = (await visit.page.locator('#points').boundingBox())!;
    const onPage = ([right, down]: readonly number[]) =>
      [box.x + (right! * box.width) / SIDE, box.y + (down! * box.width) / SIDE] as const;
    await visit.page.mouse.move(...onPage([x, y]));
    await visit.page.mouse.down();
    await visit.page.mouse.move(...onPage([x - 12, y - 8]), {steps: 3});
    await visit.page.mouse.up();
    const moved = await placeOf('Wrist');
    expect(moved).toBeAllClose([x - 12, y - 8], {atol: 1.01});
    // A finger that comes down beside a point moves it by as much as it moves itself.
    const touch = await visit.page.context().newCDPSession(visit.page);
    const finger = async (type: 'touchStart' | 'touchMove' | 'touchEnd', at?: readonly number[]) => {
      const [pageX, pageY] = at === undefined ? [0, 0] : onPage(at);
      await touch.send('Input.dispatchTouchEvent', {type, touchPoints: at === undefined ? [] : [{x: pageX, y: pageY}]});
    };
    await finger('touchStart', [moved[0]! + 2, moved[1]! + 4]);
    await finger('touchMove', [moved[0]! + 12, moved[1]! + 24]);
    await finger('touchEnd');
    expect(await placeOf('Wrist')).toBeAllClose([moved[0]! + 10, Math.min(SIDE, moved[1]! + 20)], {atol: 1.01});
    await visit.page.click('#undo:text-is("Undo: landmark moved")');
    expect(await placeOf('Wrist')).toEqual(moved);
    await visit.page.click('#keep');
    expect(await visit.page.textContent('#count')).toBe('1 frame with a hand, 0 without');
  });

  test('a frame is saved as one without a hand, and corrected afterwards', async () => {
    await visit.page.click('#camera');
    await visit.page.waitForSelector('#freeze:enabled');
    await visit.page.click('#freeze');
    await visit.page.click('#none');
    expect(await visit.page.textContent('#count')).toBe('1 frame with a hand, 1 without');
    await visit.page.click('[aria-label="Correct frame 2, no hand"]');
    await visit.page.waitForSelector('#editor:not([hidden])');
    await visit.page.click('#keep');
    expect(await visit.page.textContent('#count')).toBe('2 frames with a hand, 0 without');
    await visit.undo('frame corrected');
    await visit.page.click('[aria-label="Remove frame 2"]');
    await visit.page.click('#close');
  });

  test('pictures can be watched too, and frames removed and brought back', async () => {
    const photograph = join(__dirname, '../../examples/browser/page-light.jpg');
    await visit.page.setInputFiles('#files', photograph);
    await visit.says('Correct a frame');
    await visit.page.waitForSelector('#freeze:enabled');
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
    expect(await visit.page.textContent('#missing')).toMatch(/^Training needs at least 5 frames with a hand/);
    expect(await visit.page.isDisabled('#learn')).toBe(true);
    await visit.page.click('[aria-label="Remove frame 1"]');
    expect(await visit.page.textContent('#count')).toBe('0 frames with a hand, 0 without');
    await visit.undo('frame removed');
    expect(await visit.page.textContent('#count')).toBe('1 frame with a hand, 0 without');
    await visit.page.click('#clear');
    await visit.page.click('#ten');
    expect(await visit.page.textContent('#count')).toBe('10 frames with a hand, 5 without');
    await visit.page.click('#drawn');
    await visit.says('Drawings');
    const drawing = await shown('before');
    await visit.page.click('#next');
    await visit.page.waitForFunction(
      former => (document.querySelector('#before') as HTMLCanvasElement).toDataURL() !== former,
      drawing,
    );
  });

  test('a training is stopped before it has learned anything, and another one learns', async () => {
    await visit.press('#learn');
    await visit.press('#stop');
    await visit.says('Stopped');
    expect(await visit.page.evaluate(() => document.activeElement?.id)).toBe('learn'); // and not lost
    expect(await visit.page.isDisabled('#forget')).toBe(true);
    const former = await shown('after');
    await visit.type('#epochs', '2');
    await visit.press('#learn');
    await visit.says('Trained');
    const [, before, after] = /held-out frames: ([\d.]+) % of the hand's size before training, ([\d.]+) % after/.exec(
      (await visit.page.textContent('#status'))!,
    )!;
    expect(Number(after)).toBeLessThan(Number(before));
    await visit.page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() !== old,
      former,
    );
    expect(await visit.page.textContent('#after-text')).toMatch(/^After training, hand: \d+ %$/);
    expect(await visit.page.textContent('#before-text')).toMatch(/^Before training, hand: \d+ %$/);
    expect(await visit.page.textContent('#status')).toMatch(/in which one is found: 0 of 1 before, 0 after\.$/);
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('adapter and graph are files: plain tfjs sees by the graph what the page sees', async () => {
    const files = new Map([...(await visit.files('#save')), ...(await visit.files('#save-graph', 2))]);
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
    await visit.press('#forget');
    await visit.says('Adapter removed');
    await visit.page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() !== old,
      learned,
    );
    await visit.undo('adapter forgotten');
    await visit.page.waitForFunction(
      old => (document.querySelector('#after') as HTMLCanvasElement).toDataURL() === old,
      learned,
    );
    await visit.choose('mine.safetensors', files.get('hand.safetensors')!);
    await visit.says('Opened mine.safetensors: 112,345 parameters');
  });

  test('after a reload the adapter is here again, and of the frames only the example', async () => {
    await visit.reload('Ready: .* Your previous adapter is restored');
    expect(await visit.page.textContent('#count')).toBe('10 frames with a hand, 5 without');
  });

  test.each(LOOKS)('with a frame to correct, it is $colorScheme on a $name and still tidy', async look => {
    await showAs(visit.page, look);
    await visit.page.click('#freeze');
    await expectTidy(visit.page, {...look, name: `${look.name}-editor`}, visit.site.screenshots);
  });
});
