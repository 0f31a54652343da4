import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {disposeModel} from 'tfjs-lora';
import {toONNX} from 'tfjs-lora/onnx';
import {makeLines} from '../../examples/onnx/data';
import {FILE, folders} from '../../examples/onnx/files';
import {chancesOf, learn, openBase, shareRight} from '../../examples/onnx/learn';
import {HEIGHT, type Line, upsideDown, valuesOf, WIDTH, writeLines} from '../../examples/onnx/lines';
import {useBackend, withoutLeaks} from '../helpers';
import {describeUnless} from '../missing';
import {MISSING_BROWSER, stopAtFirstStep} from './site';
import {testsOfEveryPage, visitPage} from './visit';

jest.setTimeout(240_000);

/** A line of `height` rows, whose ink a function gives. */
function lineOf(height: number, width: number, inkAt: (y: number, x: number) => number): Line {
  const ink = Float32Array.from({length: height * width}, (_, i) => inkAt(Math.floor(i / width), i % width));
  return {ink, width, height};
}

describe('lines', () => {
  test('are as tall as the input, as wide as they are then, and followed by zeros', () => {
    // Ink in the rows 4 to 7 of 16, so that 2 to 9 are taken: 8 rows of 12 become 48 of 72.
    const values = valuesOf([lineOf(16, 12, y => (y >= 4 && y < 8 ? 1 : 0))]);
    expect(values).toHaveLength(3 * HEIGHT * WIDTH);
    const rowAt = (plane: number, y: number) =>
      Array.from(values.subarray((plane * HEIGHT + y) * WIDTH, (plane * HEIGHT + y + 1) * WIDTH));
    const row = (value: number) => Array.from({length: WIDTH}, (_, x) => (x < 72 ? value : 0));
    for (const plane of [0, 1, 2]) {
      expect(rowAt(plane, 0)).toEqual(row(1));
      expect(rowAt(plane, 24)).toEqual(row(-1)); // the ink is in the rows 12 to 35
      expect(rowAt(plane, 47)).toEqual(row(1));
    }
  });

  test('upside down, the last pixel is the first', () => {
    expect([...upsideDown(lineOf(2, 3, (y, x) => 3 * y + x)).ink]).toEqual([5, 4, 3, 2, 1, 0]);
  });

  test('have four to seven digits, and are the same for the same seed', () => {
    const block = new Float32Array(28 * 28).fill(1);
    const lines = writeLines([block], 40, 3);
    expect(writeLines([block], 40, 3)).toEqual(lines);
    expect(writeLines([block], 40, 4)).not.toEqual(lines);
    // The digits of this font have 28 columns, and 1 to 4 blank ones follow each.
    const counts = new Set(lines.map(({ink}) => ink.reduce((sum, value) => sum + value, 0) / (28 * 28)));
    expect([...counts].sort()).toEqual([4, 5, 6, 7]);
    lines.forEach(({ink, width, height}) => expect([ink.length, height]).toEqual([width * height, 32]));
  });

  test('to test on are others than those to train on', () => {
    const {train, test: others} = makeLines({train: 3, test: 3}, 1);
    expect(train.map(({width}) => width)).not.toEqual(others.map(({width}) => width));
  });
});

test('a share is of lines on the right side of a half', () => {
  expect(shareRight([0.9, 0.2, 0.6, 0.4], [true, false, false, true])).toBe(0.5);
});

let missing = MISSING_BROWSER;
let places = {model: '', runtime: ''};
try {
  places = folders();
} catch (error) {
  missing ??= `npm does not bring the model and onnxruntime-web: ${(error as Error).message}`;
}

describeUnless(missing, 'the published file', () => {
  const read = () => new Uint8Array(readFileSync(join(places.model, FILE)));

  beforeAll(() => useBackend('wasm'));

  test.each(['head', 'lora', 'full'] as const)('learns by way of %s, and is written back', async way => {
    await withoutLeaks(async () => {
      const file = read();
      const base = await openBase(file);
      const {train, test: others} = makeLines({train: 4, test: 2}, 1);
      const losses: number[] = [];
      const onStep = (_: number, steps: number, loss: number) => {
        expect(steps).toBe(3);
        return losses.push(loss) > 0;
      };
      const model = await learn(base, train, way, {epochs: 3, seed: 1, onStep});
      expect(losses[2]).toBeLessThan(losses[0]!);
      const tuned = await toONNX(model, file);
      // Only the values of tensors differ.
      expect(Math.abs(tuned.length - file.length)).toBeLessThan(2500);
      const again = await openBase(tuned);
      const [before, after, written] = [
        await chancesOf(base, others),
        await chancesOf(model, others),
        await chancesOf(again, others),
      ];
      expect(written).toBeAllClose(after, {atol: 1e-5});
      expect(before).not.toBeAllClose(after, {atol: 1e-3});
      [again, model, base].forEach(disposeModel);
    });
  });
});

describeUnless(missing, 'the page that tunes an ONNX file', () => {
  const visit = visitPage('onnx', {
    ...{ready: 'Ready: 133,628 parameters', models: places.model},
    serve: {folders: {'/runtime/': places.runtime}},
    // onnxruntime-web tells the console of the file that it could not read.
    handled: text => text.includes('protobuf'),
  });

  const answers = (which: string) =>
    visit.page.$$eval(`#lines .${which} span:last-child`, all =>
      all.map(({textContent}) => textContent.replace('✗ ', '')),
    );

  test('it opens with what ONNX Runtime finds with the published file', async () => {
    expect(await visit.page.locator('#lines li').count()).toBe(24);
    const base = await openBase(new Uint8Array(readFileSync(join(places.model, FILE))));
    const {test: lines} = makeLines({train: 60, test: 24}, 1);
    const chances = await chancesOf(
      base,
      lines.map((line, i) => (i % 2 === 1 ? upsideDown(line) : line)),
    );
    const expected = chances.map(chance => (chance > 0.5 ? 'upside down' : 'upright'));
    expect((await answers('published')).map(text => text.replace(/, .*/, ''))).toEqual(expected);
    const right = expected.filter((text, i) => text === ['upright', 'upside down'][i % 2]).length;
    expect(await visit.page.textContent('#accuracy')).toContain(
      `Correct in ONNX Runtime: published file ${right} of 24 (`,
    );
    expect(await visit.page.locator('#lines .wrong').count()).toBe(24 - right);
    expect(new Set(await answers('tuned'))).toEqual(new Set(['–']));
    disposeModel(base);
  });

  test('it trains, and runs the tuned file', async () => {
    await visit.type('#epochs', '1');
    await visit.press('#learn');
    await visit.says('Trained in \\d+ s: 34,962 parameters');
    expect(await visit.page.textContent('#accuracy')).toMatch(
      /published file \d+ of 24 .*, tuned file \d+ of 24 \(\d+ to \d+ %\)\.$/,
    );
  });

  testsOfEveryPage(visit, async () => {
    await visit.choose('bad.onnx', 'no model');
    await visit.says('bad.onnx: ONNX Runtime cannot run it here');
  });

  test('it gives the tuned file away, forgets it, and opens it again', async () => {
    const files = await visit.files('#save');
    const tuned = new Uint8Array(files.get('tuned.onnx')!);
    const model = await openBase(tuned);
    const {test: lines} = makeLines({train: 60, test: 24}, 1);
    const [chance] = await chancesOf(model, lines.slice(0, 1));
    disposeModel(model);
    const [first] = await answers('tuned');
    expect(parseFloat(first!.split(', ')[1]!) / 100).toBeCloseTo(Math.max(chance!, 1 - chance!), 2);

    await visit.press('#forget');
    await visit.says('The tuned file is forgotten');
    expect(await visit.page.isDisabled('#save')).toBe(true);
    await visit.undo('training forgotten');
    expect((await answers('tuned'))[0]).toBe(first);
    await visit.page.click('#forget');
    await visit.says('The tuned file is forgotten');
    await visit.choose('mine.onnx', Buffer.from(tuned));
    await visit.says('ONNX Runtime runs mine.onnx as the tuned file');
    expect((await answers('tuned'))[0]).toBe(first);
    await visit.choose('bad.onnx', 'no model');
    await visit.says('bad.onnx: ONNX Runtime cannot run it here');
    expect((await answers('tuned'))[0]).toBe(first);
  });

  test('a training stops with the step', async () => {
    await visit.page.fill('#epochs', '30');
    await stopAtFirstStep(visit.page);
    await visit.page.click('#learn');
    await visit.says('Stopped after');
  });

  test('a line is written with the mouse, turned, and added to those to train on', async () => {
    expect(await visit.page.isDisabled('#add')).toBe(true);
    const {x, y, width, height} = (await visit.page.locator('#pad').boundingBox())!;
    for (const at of [0.3, 0.5, 0.7]) {
      await visit.page.mouse.move(x + at * width, y + 0.2 * height);
      await visit.page.mouse.down();
      await visit.page.mouse.move(x + (at - 0.05) * width, y + 0.8 * height, {steps: 5});
      await visit.page.mouse.up();
    }
    await visit.page.waitForSelector('#add:enabled');
    for (const id of ['#answer-published', '#answer-tuned']) {
      await visit.page.locator(id, {hasText: /^(upright|upside down), [\d.]+ %$/}).waitFor();
    }
    await visit.page.click('#turn');
    expect(await visit.page.textContent('#turn')).toBe('Turn upright');
    await visit.page.click('#add');
    expect(await visit.page.textContent('#amount')).toContain('60 lines of handwriting and 1 of yours');
    expect(await visit.page.isDisabled('#turn')).toBe(true);
    await visit.page.click('#undo');
    await visit.says('Undone');
    expect(await visit.page.textContent('#amount')).not.toContain('of yours');
    await visit.page.click('#random');
    await visit.page.waitForSelector('#turn:enabled');
  });
});
