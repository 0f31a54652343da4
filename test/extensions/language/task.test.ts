import {EXPORTS, textsUnder} from '../../docs/pages';

// That it runs is tested with the other code of the pages.
test('to load a GGUF file, train and chat takes at most 8 lines and 6 names of the library', () => {
  const [code] = textsUnder('docs/language.md', 'Language models', 'ts');
  const [, imports, rest] = /^((?:import .*\n)+)\n([\s\S]*)$/.exec(code!)!;
  expect(rest!.trim().split('\n').length).toBeLessThanOrEqual(8);
  const exported = new Set(Object.values(EXPORTS).flat());
  const names = imports!.match(/\w+/g)!.filter(name => exported.has(name));
  expect(names.length).toBeGreaterThan(0);
  expect(names.length).toBeLessThanOrEqual(6);
});
