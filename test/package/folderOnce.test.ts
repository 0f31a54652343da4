import {existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {folderOnce} from '../../scripts/folderOnce';
import {temporaryFolder} from '../temporaryFolder';

const filler = (content: string) => (beside: string) => writeFileSync(join(beside, 'file'), content);
const contentOf = (folder: string) => readFileSync(join(folder, 'file'), 'utf8');

test('a folder is filled where it is missing, and only there', () => {
  const folder = join(temporaryFolder(), 'cache', 'model');
  expect(folderOnce(folder, filler('first'))).toBe(folder);
  expect(folderOnce(folder, filler('second'))).toBe(folder);
  expect(contentOf(folder)).toBe('first');
  expect(readdirSync(dirname(folder))).toEqual(['model']);
});

test('where another process fills it at the same time, what that has written is used', () => {
  const folder = join(temporaryFolder(), 'model');
  folderOnce(folder, beside => {
    filler('slower')(beside);
    mkdirSync(folder);
    filler('faster')(folder);
  });
  expect(contentOf(folder)).toBe('faster');
  expect(readdirSync(dirname(folder))).toEqual(['model']);
});

test('where filling fails, nothing is left', () => {
  const folder = join(temporaryFolder(), 'model');
  const fail = (beside: string) => {
    filler('half')(beside);
    throw new Error('The disk is full.');
  };
  expect(() => folderOnce(folder, fail)).toThrow(/^The disk is full\.$/);
  expect(existsSync(folder)).toBe(false);
  expect(readdirSync(dirname(folder))).toEqual([]);
});
