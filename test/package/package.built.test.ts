import {spawnSync} from 'node:child_process';
import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {WEIGHTS} from '../../src/extensions/words/wordBaseData';

const ROOT = join(__dirname, '../..');
const DIST = join(ROOT, 'dist');

interface Manifest {
  scripts: Record<string, string>;
  exports: Record<string, unknown>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;

/** The paths in a field of a package.json. */
function paths(value: unknown): string[] {
  return typeof value === 'string' ? [value] : Object.values(value as object).flatMap(paths);
}

describe('the package', () => {
  test('is built before it is packed', () => {
    expect(manifest.scripts.prepack).toBe('npm run build');
  });

  test('has every file that its doors name', () => {
    const named = paths(manifest.exports).filter(path => path !== './package.json');
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter(path => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test.each(['tfjs-lora', 'tfjs-lora-language'])(
    'has a file for script tags that any charset reads alike: %s',
    name => {
      const text = readFileSync(join(DIST, `${name}.min.js`), 'latin1');
      expect(/[^\0-\x7f]/.exec(text)).toBeNull();
      expect(text).toContain('\\u00d7'); // as in 3×2
    },
  );

  test('is at most 2.45 MB to download', () => {
    const {stdout} = spawnSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    const [{size, files}] = JSON.parse(stdout) as [{size: number; files: {path: string}[]}];
    expect(files.length).toBeGreaterThan(100);
    expect(size).toBeLessThan(2_450_000);
  });

  test('has the weights for spoken words once, in a module that only their entry point loads', () => {
    const modules = readdirSync(DIST).filter(name => /\.c?js$/.test(name));
    const texts = new Map(modules.map(name => [name, readFileSync(join(DIST, name), 'latin1')]));
    const having = (text: string) => modules.filter(name => texts.get(name)!.includes(text)).sort();
    const {length} = WEIGHTS;
    expect(having(WEIGHTS.slice(length - 100))).toEqual(['wordBaseData.js']);
    expect(having('wordBaseData')).toEqual(['wordBaseData.js', 'words.cjs', 'words.js']);
    expect(having('/words.')).toEqual([]);
  });

  test('names no map that it does not ship', () => {
    const files = readdirSync(DIST, {recursive: true, encoding: 'utf8'}).filter(name => /\.c?[jt]s$/.test(name));
    const missing = files.flatMap(name => {
      const map = /^\/\/# sourceMappingURL=(.+)$/m.exec(readFileSync(join(DIST, name), 'utf8'))?.[1];
      return map === undefined || existsSync(join(DIST, map)) ? [] : [`${name}: ${map}`];
    });
    expect(missing).toEqual([]);
  });
});
