import type {Page} from 'playwright-core';
import {encodeSafetensors} from '../../src/platform/formats/encodeSafetensors';
import {loadAdapter} from '../../src';
import {useBackend} from '../helpers';
import {describeUnless, pretrained} from '../missing';
import {labelOf, placeLabels} from '../../examples/sentences/src/labels';
import {movedApart} from '../../examples/sentences/src/plane';
import {collectErrors, downloads, expectTidy, longestTask, LOOKS, MISSING_BROWSER, openSite, showAs} from './site';

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
  const site = openSite('sentences', ENCODER.folder);
  let page: Page;
  let longest: number;
  let errors: string[];

  beforeAll(async () => {
    page = await site.browser.newPage({viewport: {width: 1280, height: 1000}});
    errors = collectErrors(page);
    await page.goto(site.url);
    await says('Ready');
  });

  /** Waits until the page says something that begins so. */
  async function says(begin: string): Promise<void> {
    await page.locator('#status', {hasText: new RegExp(`^${begin}`)}).waitFor({timeout: 120_000});
  }

  /** The numbers of the sentences nearest to one, from 0. */
  async function near(sentence: number, when: 'before' | 'after'): Promise<number[]> {
    await page.click(`#sentences li:nth-child(${sentence + 1}) .sentence`);
    return page.$$eval(`#${when} li`, rows => rows.map(row => Number((row as HTMLElement).dataset['index'])));
  }

  test('it opens with sentences in groups, ready to train, and shows most of them at once', async () => {
    expect(await page.isEnabled('#learn')).toBe(true);
    const groups = await page.$$eval('#sentences select', all => all.map(each => (each as HTMLSelectElement).value));
    expect(groups).toEqual(Array.from({length: COUNT}, (_, i) => (isGrouped(i) ? (i % 2 === 0 ? 'B' : 'A') : '')));
    const visible = await page.$eval('#sentences', list => {
      const {bottom} = list.getBoundingClientRect();
      return [...list.children].filter(row => row.getBoundingClientRect().bottom <= bottom).length;
    });
    expect(visible).toBeGreaterThanOrEqual(16);
  });

  test('points have labels, of which none covers another', async () => {
    const labels = page.locator('#map .dot text:not(.hidden-label)');
    expect(await labels.count()).toBeGreaterThanOrEqual(20);
    expect(await page.locator('#map .dot.chosen text:not(.hidden-label)').textContent()).toBe(
      'The pizza was cold and …',
    );
    await page.waitForTimeout(1000); // the points glide
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
    expect(await page.textContent('#status')).toContain('22.6 million');
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
      longest = await longestTask(page, async () => {
        await page.click('#learn');
        await says('Trained');
      });
      const before = await share('before', false);
      expect(before).toBeLessThan(0.6);
      expect(await share('after', false)).toBeGreaterThan(before + 0.1);
      expect(await share('after', true)).toBeGreaterThan(0.9);
    },
  );

  test('the thread of the page is never busy for more than 100 ms', () => {
    expect(longest).toBeLessThan(100);
  });

  test('dots do not hide each other', async () => {
    const {places, radius} = await page.$$eval('#map .dot', dots => ({
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
    await page.click('#ungroup');
    expect(await page.isDisabled('#learn')).toBe(true);
    await page.click('#undo:text-is("Undo: groups cleared")');
    await says('Undone');
    expect(await page.isEnabled('#learn')).toBe(true);
  });

  let file: Buffer;

  test('the adapter is a file', async () => {
    [file] = [...(await downloads(page, 1, () => page.click('#save'))).values()] as [Buffer];
    await useBackend('cpu');
    const {config} = await loadAdapter(new Uint8Array(file));
    expect(Object.keys(config.layers)).toHaveLength(6 * 5);
  });

  test('the adapter can be forgotten, brought back, and opened from its file', async () => {
    const learned = await near(4, 'after');
    await page.click('#forget');
    await says('Adapter removed');
    expect(await page.locator('#after li').count()).toBe(0);
    await page.setInputFiles('#file', {name: 'letter.safetensors', mimeType: '', buffer: Buffer.from('Dear page,')});
    await says('letter.safetensors: ');
    await page.setInputFiles('#file', {name: 'mine.safetensors', mimeType: '', buffer: file});
    await says('Opened mine.safetensors: 148,226 parameters');
    expect(await near(4, 'after')).toEqual(learned);
    await page.click('#undo:text-is("Undo: file opened")');
    await says('Undone');
    expect(await page.locator('#after li').count()).toBe(0);
    await page.click('#undo:text-is("Undo: adapter forgotten")');
    await page.waitForSelector('#after li');
    expect(await near(4, 'after')).toEqual(learned);
  });

  test('the two files of an adapter of PEFT open: one that adds nothing moves nothing', async () => {
    const query = 'base_model.model.encoder.layer.0.attention.self.query';
    const weights = encodeSafetensors({
      [`${query}.lora_A.weight`]: {shape: [1, 384], data: new Float32Array(384).fill(1)},
      [`${query}.lora_B.weight`]: {shape: [384, 1], data: new Float32Array(384)},
    });
    const config = {peft_type: 'LORA', r: 1, lora_alpha: 1, target_modules: ['query']};
    await page.setInputFiles('#file', [
      {name: 'adapter_config.json', mimeType: '', buffer: Buffer.from(JSON.stringify(config))},
      {name: 'adapter_model.safetensors', mimeType: '', buffer: Buffer.from(weights)},
    ]);
    await says('Opened adapter_config.json and adapter_model.safetensors: 768 parameters');
    expect(await near(4, 'after')).toEqual(await near(4, 'before'));
    await page.click('#undo:text-is("Undo: file opened")');
    await says('Undone');
  });

  test('a sentence of one’s own is placed', async () => {
    await page.waitForSelector('#add-sentence:enabled');
    await page.fill('#text', 'The soup was wonderful.');
    await page.click('#add-sentence');
    await says('Added');
    expect(await page.locator('#sentences li').count()).toBe(COUNT + 1);
    expect(await page.locator('#after li').count()).toBe(4);
  });

  test('sentences can be deleted, and brought back', async () => {
    const texts = () => page.locator('#sentences .sentence').allTextContents();
    const before = await texts();
    await page.click('[aria-label="Delete sentence 3"]');
    await says('Deleted');
    expect(await texts()).toEqual(before.filter((_, i) => i !== 2));
    expect(await page.locator('#map .dot').count()).toBe(COUNT);
    expect(await page.evaluate(() => document.activeElement!.getAttribute('aria-label'))).toBe('Delete sentence 3');
    await page.keyboard.press('Control+z');
    await says('Undone');
    expect(await texts()).toEqual(before);
  });

  test('there are eight groups, and all is here again after a reload', async () => {
    await page.selectOption('[aria-label="Group of sentence 25"]', 'H');
    expect(await page.locator('[aria-label="Group of sentence 25"] option').allTextContents()).toHaveLength(1 + 8);
    const shown = () =>
      page.evaluate(() => ({
        texts: [...document.querySelectorAll('#sentences .sentence')].map(({textContent}) => textContent),
        groups: [...document.querySelectorAll<HTMLSelectElement>('#sentences select')].map(({value}) => value),
        chosen: document.querySelector('#chosen')!.textContent,
        near: document.querySelector('#after')!.textContent,
      }));
    const before = await shown();
    expect(before.groups[24]).toBe('H');
    await page.waitForFunction(isKept, [24, 'H'] as const);
    await page.reload();
    await says('Ready: .* Your previous adapter is restored');
    expect(await shown()).toEqual(before);
  });

  test.each(LOOKS)('it is $colorScheme on a $name, tidy, and without a finding of axe-core', async look => {
    await showAs(page, look);
    await expectTidy(page, look, site.screenshots);
  });

  test('on a phone the map follows the list closely: both are in sight', async () => {
    const [list, drawing] = await Promise.all(['#sentences', '#map'].map(id => page.locator(id).boundingBox()));
    expect(drawing!.y - (list!.y + list!.height)).toBeLessThan(120);
    expect(drawing!.y + drawing!.height - list!.y).toBeLessThan(844);
  });

  test('it meets no error that it does not deal with', () => {
    expect(errors).toEqual([]);
  });
});
