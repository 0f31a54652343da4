import {readdirSync, readFileSync} from 'node:fs';

test('no two pages keep checkpoints in one folder: the second would find those of the first', () => {
  const pages = readdirSync('docs').filter(name => name.endsWith('.md'));
  const places = pages.flatMap(page => {
    const text = readFileSync(`docs/${page}`, 'utf8');
    return [...new Set([...text.matchAll(/checkpoint\('(file:[^']+)'/g)].map(([, place]) => place))];
  });
  expect(places.length).toBeGreaterThan(1);
  expect(new Set(places).size).toBe(places.length);
});
