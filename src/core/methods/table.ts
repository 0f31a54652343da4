import {dora} from './dora';
import {ia3, ia3FeedForward} from './ia3';
import {loha} from './loha';
import {lokr} from './lokr';
import {loraFA} from './loraFA';
import {olora, pissa} from './principal';
import {addMethods} from './registry';
import {vera} from './vera';

// A row for each method but LoRA, which every layer knows.
addMethods([dora, loraFA, pissa, olora, ia3, ia3FeedForward, vera, loha, lokr]);
