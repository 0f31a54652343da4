import {mkdirSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import ts from 'typescript';
import {disposeModel} from '../../src';
import {MemoryHandler} from '../models';
import {withFiles} from '../withFiles';
import {blocksOf, nameOf, PAGES, printedBy, programOf, scriptsOf, surroundingsOf} from './pages';

jest.setTimeout(120_000);

const ROOT = process.cwd();
const PROGRAMS = join(ROOT, 'test/docs/output');

const WITH_CODE = PAGES.filter(page => blocksOf(page, 'ts').length > 0);
const WITH_SCRIPTS = PAGES.filter(page => scriptsOf(page).length > 0);

/** What the module of a page's surroundings may export beside names. */
interface Surroundings {
  /** What there is to read: by URL, or by a path where the page runs. */
  files?: () => Promise<Record<string, string | Uint8Array>>;
  /** What follows when the page has run: what a user does in it. */
  afterwards?: () => Promise<void>;
}

function fileOf(page: string): string {
  return join(PROGRAMS, `${nameOf(page)}.ts`);
}

function scriptOf(page: string): string {
  return join(PROGRAMS, `${nameOf(page)}.script.ts`);
}

interface Program {
  /** Adds to the list what the page declares, in its order. */
  run: (declared: unknown[]) => Promise<void>;
}

/**
 * Runs `f` and expects that it leaves no tensor behind. Buffers are not counted: a model of the surroundings may share
 * its own with an adapter afterwards.
 */
async function withoutTensorsLeft(f: () => Promise<void>): Promise<void> {
  const before = tf.memory().numTensors;
  await f();
  expect({tensorsLeft: tf.memory().numTensors - before}).toEqual({tensorsLeft: 0});
}

/**
 * Frees what a reader frees in the end: models, adapters, chats, tensors, and arrays and objects
 * of them. Leaves alone what `kept` has, and what is freed with a model.
 */
function disposeOwned(value: unknown, kept: Set<unknown>): void {
  const isPart =
    value instanceof tf.Variable || (value instanceof tf.layers.Layer && !(value instanceof tf.LayersModel));
  if (value === null || typeof value !== 'object' || isPart || kept.has(value)) {
    return;
  }
  kept.add(value);
  if (value instanceof tf.LayersModel) {
    // Layers allow it only once: the page may have disposed of the model, or a model around it may have its layers.
    if ((value.layers as unknown as {_refCount: number}[]).every(({_refCount}) => _refCount !== 0)) {
      disposeModel(value);
    }
  } else if ('dispose' in value) {
    (value as {dispose: () => void}).dispose();
  } else if (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype) {
    Object.values(value).forEach(part => disposeOwned(part, kept));
  }
}

/** The models of the surroundings stay, and with them the optimizers that a page compiles them with. */
function disposeOptimizer(value: unknown): void {
  if (value instanceof tf.LayersModel) {
    (value.optimizer as tf.Optimizer | undefined)?.dispose();
  }
}

/** Places of a browser, in memory. */
function keepInMemory(): void {
  const places = new Map<string, MemoryHandler>();
  const router = (url: string | string[]) => {
    if (typeof url !== 'string' || !/^(indexeddb|localstorage|downloads):/.test(url)) {
      return null as unknown as tf.io.IOHandler;
    }
    const handler = places.get(url) ?? new MemoryHandler();
    places.set(url, handler);
    return handler;
  };
  tf.io.registerSaveRouter(router);
  tf.io.registerLoadRouter(router);
}

beforeAll(() => {
  rmSync(PROGRAMS, {recursive: true, force: true});
  mkdirSync(PROGRAMS, {recursive: true});
  WITH_CODE.forEach(page => writeFileSync(fileOf(page), programOf(page)));
  WITH_SCRIPTS.forEach(page => writeFileSync(scriptOf(page), programOf(page, scriptsOf(page))));
  keepInMemory();
});

afterAll(() => rmSync(PROGRAMS, {recursive: true}));

test('the code of docs/sound.md defines all that it uses: its surroundings have files alone', () => {
  const surroundings = require(join(ROOT, surroundingsOf('docs/sound.md')!)) as Surroundings; // oxlint-disable-line
  expect(Object.keys(surroundings)).toEqual(['files']);
});

test('code that is marked as JavaScript has no types', () => {
  const blocks = PAGES.flatMap(page => blocksOf(page, 'js', 'jsx').map(block => ({page, ...block})));
  const texts = new Map(blocks.map(({page, line, text}) => [`${page}:${line}.jsx`, text]));
  const host = ts.createCompilerHost({});
  host.getSourceFile = name => ts.createSourceFile(name, texts.get(name) ?? '', ts.ScriptTarget.ES2022);
  host.fileExists = name => texts.has(name);
  const program = ts.createProgram([...texts.keys()], {allowJs: true, noLib: true, jsx: ts.JsxEmit.Preserve}, host);
  const faults = [...texts.keys()].flatMap(name =>
    program
      .getSyntacticDiagnostics(program.getSourceFile(name))
      .map(({messageText}) => `${name}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`),
  );
  expect(texts.size).toBeGreaterThan(5);
  expect(faults).toEqual([]);
});

describe('the code of a page runs as it is written', () => {
  let printed: string[];
  beforeEach(() => {
    // The pages after this one take their tensors from the same surroundings.
    tf.engine().endScope();
    printed = [];
    jest.spyOn(console, 'log').mockImplementation(text => printed.push(...String(text).split('\n')));
    jest.spyOn(console, 'warn').mockImplementation(() => undefined);
    jest.spyOn(process.stderr, 'write').mockImplementation(() => true);
  });
  afterEach(() => {
    tf.disposeVariables();
    tf.engine().startScope();
  });

  // A backend gets its threads before tensors are made, such as those of the surroundings of other pages.
  const startsThreads = (page: string) => programOf(page).includes('startWasm(');
  const inOrder = [...WITH_CODE].sort((a, b) => Number(startsThreads(b)) - Number(startsThreads(a)));

  test.each(inOrder)('%s', async page => {
    const path = surroundingsOf(page);
    const surroundings = (path === undefined ? {} : require(join(ROOT, path))) as Surroundings; // oxlint-disable-line
    await withFiles((await surroundings.files?.()) ?? {}, async () => {
      const {run} = require(fileOf(page)) as Program; // oxlint-disable-line
      await withoutTensorsLeft(async () => {
        const declared: unknown[] = [];
        await run(declared);
        await surroundings.afterwards?.();
        disposeOwned(declared.reverse(), new Set(Object.values(surroundings)));
        Object.values(surroundings).forEach(disposeOptimizer);
      });
    });
    expect(printed).toEqual(expect.arrayContaining(printedBy(page)));
  });

  test.each(WITH_SCRIPTS)('the programs to save of %s', async page => {
    await withFiles({}, async () => {
      const {run} = require(scriptOf(page)) as Program; // oxlint-disable-line
      await withoutTensorsLeft(async () => {
        const declared: unknown[] = [];
        await run(declared);
        disposeOwned(declared.reverse(), new Set());
      });
    });
    expect(printed.length).toBeGreaterThan(0);
    expect(printed).toEqual(expect.arrayContaining(printedBy(page, 'js')));
  });
});
