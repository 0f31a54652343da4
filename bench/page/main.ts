import {byId} from '../../examples/shared/dom';
import {start} from './panel';

start(byId('measure'));
