import {encodeSafetensors} from '../../src/platform/formats/encodeSafetensors';
import {loadAdapter} from '../../src';
import {useBackend} from '../helpers';
import {describeUnless, pretrained} from '../missing';
import {labelOf, placeLabels} from '../../examples/sentences/src/labels';
import {movedApart} from '../../examples/sentences/src/plane';
import {expectWorkerComputes, MISSING_BROWSER} from './site';
import {testsOfEveryPage, visitPage} from './visit';

/** Of every six sentences, on one subject each, every other one is praise, and the first four are put into groups. */
const COUNT = 24;
const isGrouped = (sentence: number) => sentence % 6 < 4;
const areAlike = (one: number, other: number) => (one - other) % 2 === 0;

jest.setTimeout(240_000);

const ENCODER = pretrained('minilm');

/** Whether the browser has kept the page's sentences with this group. */
function isKept([sentence, group]: readonly [number, string]): Promise<boolean> {
  return new Promise(resolve => {
    const opening = indexedDB.open('tfjs-lora-pages');
    opening.onsuccess = () => {
      const reading = opening.result.transaction('kept').objectStore('kept').get('sentences');
      reading.onsuccess = () => {
        opening.result.close();
        resolve((reading.result as {sentences: {group: string}[]}).sentences[sentence]?.group === group);
      };
    };
  });
}

test('points that are too near each other part, and stay on the map', () => {
  const near = (count: number) => Array.from({length: count}, (_, i): [number, number] => [1 - 1e-3 * i, 1]);
  for (const points of [near(24), Array.from({length: 60}, (): [number, number] => [0.2, 0.2])]) {
    const apart = movedApart(points, 0.145, 1.06);
    apart.flat().forEach(value => expect(Math.abs(value)).toBeLessThanOrEqual(1.06));
    apart.forEach(([x, y], i) =>
      apart.slice(i + 1).forEach(([u, v]) => expect(Math.hypot(x - u, y - v)).toBeGreaterThan(0.14)),
    );
  }
  expect(
    movedApart(
      [
        [0, 0],
        [0.5, 0.5],
      ],
      0.145,
      1.06,
    ),
  ).toEqual([
    [0, 0],
    [0.5, 0.5],
  ]);
});

test('labels are beside their points, cover nothing, and are left out where there is no room', () => {
  const options = {widths: [40, 40, 40], height: 6, radius: 5, bound: 100, order: [0, 1, 2]};
  const right = {anchor: 'start', dx: 7, dy: 0};
  const left = {anchor: 'end', dx: -7, dy: 0};
  const place = (ys: number[], xs: number[], other = {}) =>
    placeLabels(
      xs.map((x, i) => [x, ys[i]!]),
      {...options, ...other},
    );
  // Far from each other, all are to the right; at the right edge, to the left.
  expect(place([0, 50, -50], [0, 0, 80])).toEqual([right, right, left]);
  // The second point is in the way of the first label.
  expect(place([0, 0, 50], [0, 10, 0])).toEqual([left, right, right]);
  // Above and below there is room for two, beside for none.
  const narrow = place([0, 1, 30], [0, 0, 30], {radius: 3, bound: 12, widths: [20, 20, 90]});
  expect(narrow.map(spot => spot && Math.sign(spot.dy))).toEqual([-1, 1, null]);
  // Between two points there is no room, but the first one gets its label in any case.
  const crowded = place([0, -6, 6], [0, 0, 0], {radius: 3, bound: 12, widths: [20, 90, 90]});
  expect(crowded.map(spot => spot !== null)).toEqual([true, false, false]);
});

test('a label is the start of its sentence', () => {
  expect(labelOf('Short enough.', 26)).toBe('Short enough.');
  expect(labelOf('We waited an hour, for a burnt steak.', 22)).toBe('We waited an hour …');
  expect(labelOf('Incomprehensibilities', 10)).toBe('Incompreh …');
});

describeUnless(ENCODER.missing ?? MISSING_BROWSER, 'the page that teaches an encoder of sentences', () => {
  const visit = visitPage('sentences', {models: ENCODER.folder});

  /** The numbers of the sentences nearest to one, from 0. */
  async function near(sentence: number, when: 'before' | 'after'): Promise<number[]> {
    await visit.page.click(`#sentences li:nth-child(${sentence + 1}) .sentence`);
    return visit.page.$$eval(`#${when} li`, rows => rows.map(row => Number((row as HTMLElement).dataset['index'])));
  }

  test('it opens with sentences in groups, ready to train, and shows most of them at once', async () => {
    expect(await visit.page.isEnabled('#learn')).toBe(true);
    const groups = await visit.page.$$eval('#sentences select', all =>
      all.map(each => (each as HTMLSelectElement).value),
    );
    expect(groups).toEqual(Array.from({length: COUNT}, (_, i) => (isGrouped(i) ? (i % 2 === 0 ? 'B' : 'A') : '')));
    const visible = await visit.page.$eval('#sentences', list => {
      const {bottom} = list.getBoundingClientRect();
      return [...list.children].filter(row => row.getBoundingClientRect().bottom <= bottom).length;
    });
    expect(visible).toBeGreaterThanOrEqual(16);
  });

  test('points have labels, of which none covers another', async () => {
    const labels = visit.page.locator('#map .dot text:not(.hidden-label)');
    expect(await labels.count()).toBeGreaterThanOrEqual(20);
    expect(await visit.page.locator('#map .dot.chosen text:not(.hidden-label)').textContent()).toBe(
      'The pizza was cold and …',
    );
    await visit.page.waitForTimeout(1000); // the points glide
    const boxes = await labels.evaluateAll(all => all.map(label => label.getBoundingClientRect().toJSON() as DOMRect));
    boxes.forEach((one, i) =>
      boxes.slice(i + 1).forEach(other => {
        const isBeside = one.right < other.left + 1 || other.right < one.left + 1;
        const isAbove = one.bottom < other.top + 4 || other.bottom < one.top + 4; // a line is higher than its letters
        expect(isBeside || isAbove).toBe(true);
      }),
    );
  });

  test('at first the nearest are on the same subject', async () => {
    for (const sentence of [8, 13, 19]) {
      expect(Math.floor((await near(sentence, 'before'))[0]! / 6)).toBe(Math.floor(sentence / 6));
    }
    expect(await visit.page.textContent('#status')).toContain('22.6 million');
  });

  test(
    'once most sentences are grouped by mood, they are near those of their own mood, and the others nearer than ' +
      'before',
    async () => {
      /** The share of the four nearest that have the same mood. */
      const share = async (when: 'before' | 'after', grouped: boolean) => {
        const sentences = Array.from({length: COUNT}, (_, i) => i).filter(sentence => isGrouped(sentence) === grouped);
        let alike = 0;
        for (const sentence of sentences) {
          alike += (await near(sentence, when)).filter(other => areAlike(sentence, other)).length;
        }
        return alike / (4 * sentences.length);
      };
      await visit.press('#learn');
      await visit.says('Trained');
      const before = await share('before', false);
      expect(before).toBeLessThan(0.6);
      expect(await share('after', false)).toBeGreaterThan(before + 0.1);
      expect(await share('after', true)).toBeGreaterThan(0.9);
    },
  );

  testsOfEveryPage(visit, async () => {
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
  });

  test('the worker computes, and not the page', () => expectWorkerComputes(visit.page));

  test('dots do not hide each other', async () => {
    const {places, radius} = await visit.page.$$eval('#map .dot', dots => ({
      places: dots.map(dot => {
        const {e, f} = new DOMMatrix((dot as SVGGElement).style.transform);
        return [e, f] as const;
      }),
      radius: Number(dots[0]!.querySelector('circle')!.getAttribute('r')),
    }));
    expect(places).toHaveLength(COUNT);
    places.forEach(([x, y], i) =>
      places.slice(i + 1).forEach(([u, v]) => expect(Math.hypot(x - u, y - v)).toBeGreaterThanOrEqual(2 * radius)),
    );
  });

  test('groups are cleared and restored', async () => {
    await visit.page.click('#ungroup');
    expect(await visit.page.isDisabled('#learn')).toBe(true);
    await visit.undo('groups cleared');
    expect(await visit.page.isEnabled('#learn')).toBe(true);
  });

  let file: Buffer;

  test('the adapter is a file', async () => {
    file = (await visit.files('#save')).get('sentences.safetensors')!;
    await useBackend('cpu');
    const {config} = await loadAdapter(new Uint8Array(file));
    expect(Object.keys(config.layers)).toHaveLength(6 * 5);
  });

  test('the adapter can be forgotten, brought back, and opened from its file', async () => {
    const learned = await near(4, 'after');
    await visit.press('#forget');
    await visit.says('Adapter removed');
    expect(await visit.page.locator('#after li').count()).toBe(0);
    await visit.choose('letter.safetensors', 'Dear page,');
    await visit.says('letter.safetensors: ');
    await visit.choose('mine.safetensors', file);
    await visit.says('Opened mine.safetensors: 148,226 parameters');
    expect(await near(4, 'after')).toEqual(learned);
    await visit.undo('file opened');
    expect(await visit.page.locator('#after li').count()).toBe(0);
    await visit.undo('adapter forgotten');
    await visit.page.waitForSelector('#after li');
    expect(await near(4, 'after')).toEqual(learned);
  });

  test('the two files of an adapter of PEFT open: one that adds nothing moves nothing', async () => {
    const query = 'base_model.model.encoder.layer.0.attention.self.query';
    const weights = encodeSafetensors({
      [`${query}.lora_A.weight`]: {shape: [1, 384], data: new Float32Array(384).fill(1)},
      [`${query}.lora_B.weight`]: {shape: [384, 1], data: new Float32Array(384)},
    });
    const config = {peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['query']};
    await visit.page.setInputFiles('#files', [
      {name: 'adapter_config.json', mimeType: '', buffer: Buffer.from(JSON.stringify(config))},
      {name: 'adapter_model.safetensors', mimeType: '', buffer: Buffer.from(weights)},
    ]);
    await visit.says('Opened adapter_config.json and adapter_model.safetensors: 768 parameters');
    expect(await near(4, 'after')).toEqual(await near(4, 'before'));
    await visit.undo('file opened');
  });

  test('a sentence of one’s own is placed', async () => {
    await visit.page.waitForSelector('#add-sentence:enabled');
    await visit.page.fill('#text', 'The soup was wonderful.');
    await visit.page.click('#add-sentence');
    await visit.says('Added');
    expect(await visit.page.locator('#sentences li').count()).toBe(COUNT + 1);
    expect(await visit.page.locator('#after li').count()).toBe(4);
  });

  test('sentences can be deleted, and brought back', async () => {
    const texts = () => visit.page.locator('#sentences .sentence').allTextContents();
    const before = await texts();
    await visit.page.click('[aria-label="Delete sentence 3"]');
    await visit.says('Deleted');
    expect(await texts()).toEqual(before.filter((_, i) => i !== 2));
    expect(await visit.page.locator('#map .dot').count()).toBe(COUNT);
    expect(await visit.page.evaluate(() => document.activeElement!.getAttribute('aria-label'))).toBe(
      'Delete sentence 3',
    );
    await visit.page.keyboard.press('Control+z');
    await visit.says('Undone');
    expect(await texts()).toEqual(before);
  });

  test('there are eight groups, and all is here again after a reload', async () => {
    await visit.page.selectOption('[aria-label="Group of sentence 25"]', 'H');
    expect(await visit.page.locator('[aria-label="Group of sentence 25"] option').allTextContents()).toHaveLength(
      1 + 8,
    );
    const shown = () =>
      visit.page.evaluate(() => ({
        texts: [...document.querySelectorAll('#sentences .sentence')].map(({textContent}) => textContent),
        groups: [...document.querySelectorAll<HTMLSelectElement>('#sentences select')].map(({value}) => value),
        chosen: document.querySelector('#chosen')!.textContent,
        near: document.querySelector('#after')!.textContent,
      }));
    const before = await shown();
    expect(before.groups[24]).toBe('H');
    await visit.page.waitForFunction(isKept, [24, 'H'] as const);
    await visit.reload('Ready: .* Your previous adapter is restored');
    expect(await shown()).toEqual(before);
  });

  test('on a phone, the map follows Train closely: both are in sight', async () => {
    await visit.page.setViewportSize({width: 390, height: 844});
    const [learn, drawing] = await Promise.all(['#learn', '#map'].map(id => visit.page.locator(id).boundingBox()));
    expect(drawing!.y + drawing!.height - learn!.y).toBeLessThan(844);
  });
});
